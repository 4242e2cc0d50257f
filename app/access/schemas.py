"""What the API and the pages say about API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

PolicyNames = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One key, recognisable but not usable. `state` is active, expired or revoked."""

    id: str
    name: str
    prefix: str
    last4: str
    proxy_ids: list[str] | None
    policy_names: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    state: str


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a creation, and the only place where the key itself appears."""

    key: str
    api_key: KeyView

    def __repr__(self) -> str:
        return f"<NewKey {self.api_key.id}>"


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key. `proxy_ids` null opens every proxy, also those made later; with `policy_names` its calls come under these
    policies instead of those of the proxies."""

    name: Annotated[str, Meta(max_length=200)]
    proxy_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=200)] | None = None
    expires_in_days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    policy_names: PolicyNames = []


class UpdateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be changed about a key: its policies. None of its own means those of the proxies."""

    policy_names: PolicyNames
