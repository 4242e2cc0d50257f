"""API structs of the accounts. No struct that leaves the console has a field for a hash."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from app.accounts.models import APIToken, User
from app.security.permissions import Role

Username = Annotated[str, Meta(min_length=2, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    """Credentials of a person."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "<LogIn>"


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True):
    """One's own password."""

    current_password: str
    new_password: str

    def __repr__(self) -> str:
        return "<ChangePassword>"


class CreateUser(msgspec.Struct, forbid_unknown_fields=True):
    """A new person. They get a one-time password that they must change."""

    username: Username
    role: Role = Role.VIEWER
    email: Annotated[str, Meta(max_length=254)] = ""


class UpdateUser(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed about a person; what is left out stays."""

    role: Role | msgspec.UnsetType = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET


class CreateToken(msgspec.Struct, forbid_unknown_fields=True):
    """A new API token for oneself."""

    name: Name
    role: Role = Role.VIEWER
    expires_in_days: Annotated[int, Meta(ge=1, le=3650)] | None = 90


class UserView(msgspec.Struct):
    """A person."""

    id: str
    username: str
    email: str
    role: Role
    is_active: bool
    must_change_password: bool
    last_login_at: datetime | None
    created_at: datetime


class LoginView(msgspec.Struct):
    """A fresh session for `Authorization: Bearer`."""

    token: str
    expires_at: datetime
    password_change_required: bool
    user: UserView

    def __repr__(self) -> str:
        return f"<LoginView {self.user.username}>"


class MeView(msgspec.Struct):
    """Who is asking."""

    user: UserView
    role: Role
    """What this credential may do: an API token can have less than its user."""
    via: str
    password_change_required: bool


class CreatedUserView(msgspec.Struct):
    """A new person and the one-time password, which is shown only now."""

    user: UserView
    one_time_password: str

    def __repr__(self) -> str:
        return f"<CreatedUserView {self.user.username}>"


class TokenView(msgspec.Struct):
    """An API token without its secret."""

    id: str
    name: str
    role: Role
    username: str
    last4: str
    state: str
    """active, expired or revoked."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreatedTokenView(msgspec.Struct):
    """A new API token with its secret, which is shown only now."""

    token: str
    details: TokenView

    def __repr__(self) -> str:
        return f"<CreatedTokenView {self.details.id}>"


def user_view(user: User) -> UserView:
    """The view of a row."""
    return UserView(
        id=user.id,
        username=user.username,
        email=user.email,
        role=Role(user.role),
        is_active=user.is_active,
        must_change_password=user.must_change_password,
        last_login_at=user.last_login_at,
        created_at=user.created_at,
    )


def token_view(token: APIToken, now: datetime) -> TokenView:
    """The view of a row as of now."""
    if token.revoked_at is not None:
        state = "revoked"
    elif token.expires_at is not None and token.expires_at <= now:
        state = "expired"
    else:
        state = "active"
    return TokenView(
        id=token.id,
        name=token.name,
        role=Role(token.role),
        username=token.user.username,
        last4=token.last4,
        state=state,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
