"""Deny by default: every route says in `opt["role"]` who may use it, and one guard on the application asks.

`opt={"role": "viewer" | "admin" | "public"}`; a route without it stops the start. `opt={"before_password_change":
True}` marks the few routes that work while the one-time password is still in force, `opt={"static": True}` those that
need no identity, `opt={"tells_unknown_credentials": True}` those whose clients expect 403 for a token that nobody has.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from litestar.exceptions import ClientException, MethodNotAllowedException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from app.errors import (
    CrossSiteRefused,
    Forbidden,
    NotAuthenticated,
    PasswordChangeRequired,
    UnknownCredential,
    UnsupportedMediaType,
)
from app.security.origin import SAFE_METHODS, is_proven_same_origin
from app.security.permissions import Actor, Role
from app.security.sessions import CSRF_FIELD, CSRF_HEADER
from app.security.tokens import MAX_CHARACTERS

if TYPE_CHECKING:
    from litestar import Litestar, Request
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

logger = logging.getLogger(__name__)

PUBLIC = "public"
API_PREFIX = "/api/"
JSON_TYPE = "application/json"
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class UndeclaredRoute(Exception):
    """A route does not say who may use it."""


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let the request in or raise NotAuthenticated, PasswordChangeRequired, CrossSiteRefused, UnknownCredential or Forbidden."""
    needed = handler.opt.get("role")
    if handler.opt.get("static"):
        return
    actor = await identify(connection)
    connection.scope["user"] = actor
    if actor is not None and actor.via == "session":
        connection.scope["state"]["csrf_token"] = connection.app.state.session_cookies.csrf_token(actor.credential)
    await _check_csrf(connection, actor)
    _check_content_type(connection)
    if needed == PUBLIC:
        return
    if actor is None:
        if handler.opt.get("open_on_loopback") and _is_open_here(connection):
            return
        if handler.opt.get("tells_unknown_credentials") and "authorization" in connection.headers:
            raise UnknownCredential
        raise NotAuthenticated
    if actor.must_change_password and not handler.opt.get("before_password_change"):
        raise PasswordChangeRequired
    if needed is None and connection.scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]
        # Not ours but the framework's, for every path; nobody needs it, since no foreign page may call.
        raise MethodNotAllowedException
    if needed is None or not actor.role.covers(Role(needed)):
        logger.warning(
            "Refused %s %s to %s: needs %s", connection.scope.get("method"), connection.url.path, actor, needed
        )
        raise Forbidden(f"This needs the role {needed}.")


async def identify(connection: ASGIConnection[Any, Any, Any, Any]) -> Actor | None:
    """Who is asking: the Authorization header if there is one, else the session cookie, else nobody."""
    state = connection.app.state
    ip = connection.client.host if connection.client else ""
    request_id = connection.scope["state"].get("request_id", "")
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(credential) <= MAX_CHARACTERS:
            return None
        found: Actor | None = await state.authenticator.authenticate(
            credential, via="token", ip=ip, request_id=request_id
        )
        return found
    cookie = connection.cookies.get(state.session_cookies.session_name)
    if not cookie or len(cookie) > MAX_CHARACTERS:
        return None
    visitor: Actor | None = await state.authenticator.authenticate(cookie, via="session", ip=ip, request_id=request_id)
    return visitor


def check_routes(app: Litestar) -> None:
    """Raise UndeclaredRoute for the first handler that does not say who may use it."""
    for route in app.routes:
        for handler in route.route_handlers if hasattr(route, "route_handlers") else [route.route_handler]:
            role = handler.opt.get("role")
            if role != PUBLIC and role not in list(Role) and not _is_automatic_options(handler):
                raise UndeclaredRoute(f"{route.path} ({handler}) does not declare opt['role'].")


def _is_automatic_options(handler: Any) -> bool:
    return getattr(handler, "http_methods", None) == {"OPTIONS"}


def _check_content_type(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """The API reads JSON and nothing else; a form or plain text is what other sites could make a browser send (ADM-05)."""
    headers = connection.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not has_body or not connection.scope["path"].startswith(API_PREFIX):
        return
    if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        raise UnsupportedMediaType


def _is_open_here(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the operator lets programs on this machine read metrics without a token, and this is one."""
    ip = connection.client.host if connection.client else ""
    return connection.app.state.settings.metrics_on_loopback and ip in ("127.0.0.1", "::1")


async def _check_csrf(connection: ASGIConnection[Any, Any, Any, Any], actor: Actor | None) -> None:
    """Changes need proof that one of our own pages asked for them; an Authorization header is that proof in itself."""
    if connection.scope.get("method") in SAFE_METHODS or (actor is not None and actor.via == "token"):
        return
    if actor is None:
        is_form = connection.headers.get("content-type", "").startswith(FORM_TYPES)
        if is_form and not is_proven_same_origin(connection.headers, connection.app.state.perimeter):
            raise CrossSiteRefused
        return
    given = connection.headers.get(CSRF_HEADER) or await _form_token(connection)
    if not connection.app.state.session_cookies.csrf_matches(actor.credential, given):
        raise CrossSiteRefused


async def _form_token(request: Request[Any, Any, Any] | Any) -> str:
    """The token in a plain form, for pages without JavaScript; Litestar keeps the parsed form for the handler."""
    if not request.headers.get("content-type", "").startswith(FORM_TYPES):
        return ""
    try:
        value = (await request.form()).get(CSRF_FIELD, "")
    except RequestEntityTooLarge:
        raise  # It says what is wrong; the token that was not read would not.
    except ClientException:
        return ""
    return value if isinstance(value, str) else ""
