"""Roles, and who is acting."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from app.database.base import DEFAULT_TENANT


class Role(StrEnum):
    """What a person may do, least first."""

    VIEWER = "viewer"
    """Reads everything that carries no secret."""
    ADMIN = "admin"
    """Changes everything."""

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may do."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Actor(msgspec.Struct, frozen=True):
    """Who is acting in this request, and how that was proven."""

    user_id: str
    username: str
    role: Role
    via: Literal["session", "token"]
    """`session`: the browser's cookie, which needs a CSRF token for changes. `token`: an Authorization header."""
    ip: str
    credential: str
    """SHA-256 of the session or token that proved it; names the session to keep or to end."""
    must_change_password: bool = False
    request_id: str = ""
    tenant_id: str = DEFAULT_TENANT

    def __repr__(self) -> str:
        return f"<Actor {self.username} ({self.role}) via {self.via} from {self.ip}>"


class Authenticator(Protocol):
    """What the guard asks; the accounts feature answers."""

    async def authenticate(
        self, credential: str, *, via: Literal["session", "token"], ip: str, request_id: str
    ) -> Actor | None:
        """The actor behind a session token or an API token, or None when it is unknown, ended or expired."""
        ...

    async def is_still_valid(self, actor: Actor) -> bool:
        """Whether what proved the actor still would; long-lived streams ask every few seconds."""
        ...
