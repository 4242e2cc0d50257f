"""JSON endpoints of the accounts: login, one's own password, people, API tokens."""

from typing import Any

from litestar import Request, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import repository
from app.accounts.directory import Directory
from app.accounts.errors import UserNotFound
from app.accounts.repository import TOKEN_SORTS, USER_SORTS
from app.accounts.schemas import (
    ChangePassword,
    CreatedTokenView,
    CreatedUserView,
    CreateToken,
    CreateUser,
    LogIn,
    LoginView,
    MeView,
    TokenView,
    UpdateUser,
    UserView,
    user_view,
)
from app.accounts.service import Accounts, Login
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text
from app.security.permissions import Actor

WITH_ONE_TIME_PASSWORD = {"role": "viewer", "before_password_change": True}


@post("/api/v1/auth/login", opt={"role": "public"}, status_code=200, tags=["auth"])
async def log_in(
    request: Request[Any, Any, Any], data: JSONBody[LogIn], accounts: NamedDependency[Accounts]
) -> Envelope[LoginView]:
    """Exchange name and password for a session token; it sets no cookie."""
    login = await accounts.log_in(
        data.username,
        data.password,
        ip=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
        request_id=request.scope["state"].get("request_id", ""),
    )
    return Envelope(_login_view(login))


@post("/api/v1/auth/logout", opt=WITH_ONE_TIME_PASSWORD, status_code=200, tags=["auth"])
async def log_out(actor: NamedDependency[Actor], accounts: NamedDependency[Accounts]) -> Envelope[None]:
    """End the session that this request came with."""
    await accounts.log_out(actor)
    return Envelope(None, message="Logged out.")


@post("/api/v1/auth/password", opt=WITH_ONE_TIME_PASSWORD, status_code=200, tags=["auth"])
async def change_password(
    request: Request[Any, Any, Any],
    data: JSONBody[ChangePassword],
    actor: NamedDependency[Actor],
    accounts: NamedDependency[Accounts],
) -> Envelope[LoginView]:
    """Set one's own password. All sessions end; the answer holds the token of a fresh one."""
    login = await accounts.change_password(
        actor, data.current_password, data.new_password, user_agent=request.headers.get("user-agent", "")
    )
    return Envelope(_login_view(login), message="The password is changed; all other sessions are ended.")


@get("/api/v1/auth/me", opt=WITH_ONE_TIME_PASSWORD, tags=["auth"])
async def who_am_i(actor: NamedDependency[Actor], reader: NamedDependency[AsyncSession]) -> Envelope[MeView]:
    """Who the credential belongs to and what it may do."""
    user = await repository.user_by_id(reader, actor.user_id, actor.tenant_id)
    if user is None:
        raise UserNotFound
    return Envelope(
        MeView(
            user=user_view(user),
            role=actor.role,
            via=actor.via,
            password_change_required=user.must_change_password,
        )
    )


@get("/api/v1/users", opt={"role": "admin"}, tags=["users"])
async def list_users(
    reader: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[UserView]]:
    """People by name; `search` is found in name, mail address and role."""
    limit, offset = page_of(limit, offset)
    order = USER_SORTS.asked(sort)
    found = await directory.users(reader, actor, search=search_text(search), sort=order, limit=limit, offset=offset)
    return Envelope(found)


@post("/api/v1/users", opt={"role": "admin"}, tags=["users"])
async def create_user(
    data: JSONBody[CreateUser],
    writer: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
) -> Envelope[CreatedUserView]:
    """Add a person; the answer shows their one-time password, once."""
    return Envelope(
        await directory.create_user(writer, actor, data), message="The one-time password is shown only now."
    )


@patch("/api/v1/users/{user_id:str}", opt={"role": "admin"}, tags=["users"])
async def update_user(
    user_id: FromPath[str],
    data: JSONBody[UpdateUser],
    writer: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
) -> Envelope[UserView]:
    """Change a person's role, or deactivate them, which ends their sessions and tokens."""
    return Envelope(await directory.update_user(writer, actor, user_id, data))


@get("/api/v1/tokens", opt={"role": "admin"}, tags=["tokens"])
async def list_tokens(
    reader: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[TokenView]]:
    """API tokens, newest first; `search` is found in name, last characters, role and person."""
    limit, offset = page_of(limit, offset)
    order = TOKEN_SORTS.asked(sort)
    found = await directory.tokens(reader, actor, search=search_text(search), sort=order, limit=limit, offset=offset)
    return Envelope(found)


@post("/api/v1/tokens", opt={"role": "admin"}, tags=["tokens"])
async def create_token(
    data: JSONBody[CreateToken],
    writer: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
) -> Envelope[CreatedTokenView]:
    """Make an API token for oneself; the answer shows it, once."""
    return Envelope(await directory.create_token(writer, actor, data), message="The token is shown only now.")


@post("/api/v1/tokens/{token_id:str}/revoke", opt={"role": "admin"}, status_code=200, tags=["tokens"])
async def revoke_token(
    token_id: FromPath[str],
    writer: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
) -> Envelope[TokenView]:
    """End a token at once. Ten seconds long it can be restored."""
    return Envelope(await directory.revoke_token(writer, actor, token_id), message="The token is revoked.")


@post("/api/v1/tokens/{token_id:str}/restore", opt={"role": "admin"}, status_code=200, tags=["tokens"])
async def restore_token(
    token_id: FromPath[str],
    writer: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
) -> Envelope[TokenView]:
    """Take a revocation back, within ten seconds."""
    return Envelope(await directory.restore_token(writer, actor, token_id), message="The token is restored.")


def _login_view(login: Login) -> LoginView:
    return LoginView(
        token=login.token,
        expires_at=login.expires_at,
        password_change_required=login.user.must_change_password,
        user=login.user,
    )


routes = [
    log_in,
    log_out,
    change_password,
    who_am_i,
    list_users,
    create_user,
    update_user,
    list_tokens,
    create_token,
    revoke_token,
    restore_token,
]
