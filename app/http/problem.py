"""Errors to responses: the JSON envelope for the API, a plain page (or a redirect) for a browser.

What is not an AppError says nothing of itself: the log has the trace, the caller gets the request id (ADM-22).
"""

from __future__ import annotations

import html
import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.trouble import disk_trouble_of
from app.errors import (
    AppError,
    BadRequest,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    PasswordChangeRequired,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from app.http.envelope import Failure
from app.security.origin import address_parts, local_path

logger = logging.getLogger(__name__)

_NO_BODY = "'data'"
"""What Litestar says of a body that is missing."""
PROBLEM_TYPE = "application/problem+json"
API_PREFIXES = ("/api/", "/admin/", "/schema/", "/health", "/ready", "/metrics")
API_PATHS = frozenset({"/mcp", "/scan"})
"""Endpoints outside of those, by their whole path: pages may begin alike."""
CHALLENGE = 'Bearer realm="ostiary"'
LOGIN_PAGE = "/login"
PASSWORD_PAGE = "/password"  # noqa: S105 - a path.


class MethodNotAllowed(AppError):
    code = "METHOD_NOT_ALLOWED"
    status = 405
    default_message = "This address does not know that method."
    default_remediation = "Check the method against the API's description."


BY_STATUS: dict[int, type[AppError]] = {
    error.status: error
    for error in (
        BadRequest,
        NotAuthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        Conflict,
        TooLarge,
        UnsupportedMediaType,
    )
}


def failure_json(error: AppError, request_id: str) -> bytes:
    """The body of an error for the API."""
    return msgspec.json.encode(
        Failure(
            error=error.message,
            error_code=error.code,
            remediation=error.remediation,
            request_id=request_id,
            fields=error.fields,
            title=HTTPStatus(error.status).phrase,
            status=error.status,
            detail=error.message,
        )
    )


def as_app_error(error: Exception) -> AppError:
    """What the caller is told about any exception."""
    match error:
        case AppError():
            return error
        case ValidationException():
            return ValidationFailed(fields=_fields(error))
        case MethodNotAllowedException():
            # Litestar names the methods that the address knows (RFC 9110, 15.5.6).
            return MethodNotAllowed(headers={"Allow": (error.headers or {}).get("allow", "").upper()})
        case HTTPException() if error.status_code in BY_STATUS:
            return BY_STATUS[error.status_code]()
        case HTTPException() if error.status_code < 500:
            return BadRequest()
        case IntegrityError():
            return Conflict()
        case OperationalError() if trouble := disk_trouble_of(error):
            return Unavailable(
                f"The database cannot be written: its disk {trouble}.",
                remediation="Make room on the disk of the data directory, or see why it cannot be written. No restart is needed.",
            )
        case OperationalError() | PoolTimeout():
            return Unavailable("The database is not available at the moment.")
        case MemoryError():
            return Unavailable(
                "There is not enough memory for this at the moment.",
                remediation="Try again later, or give the console more memory; nothing was changed.",
            )
    return AppError()


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Litestar's exception handler for everything."""
    told = as_app_error(error)
    if isinstance(told, TooLarge):
        told = _too_large(request)
    request_id = request.scope["state"].get("request_id", "")
    if told.status == NotAuthenticated.status:
        told.headers.setdefault("WWW-Authenticate", CHALLENGE)
    if told.status >= 500:
        logger.error("Request %s failed", request_id, exc_info=error)
    if request.url.path.startswith(API_PREFIXES) or request.url.path in API_PATHS:
        return Response(
            failure_json(told, request_id), status_code=told.status, media_type=PROBLEM_TYPE, headers=dict(told.headers)
        )
    return _for_browser(request, told, request_id)


def _too_large(request: Request[Any, Any, Any]) -> TooLarge:
    """How much this address takes, and whether a setting changes that."""
    limit = request.route_handler.resolve_request_max_body_size() or 0
    message = f"The request is larger than {limit // 1024:,} KiB."
    if limit == request.app.state.settings.max_request_bytes:
        return TooLarge(message)
    return TooLarge(message, remediation="Send less: no setting changes this limit.")


def _for_browser(request: Request[Any, Any, Any], told: AppError, request_id: str) -> Response[Any]:
    target = ""
    if isinstance(told, NotAuthenticated):
        came_from = _page_of(request)
        target = f"{LOGIN_PAGE}?next={quote(came_from)}" if came_from else LOGIN_PAGE
    elif isinstance(told, PasswordChangeRequired):
        target = PASSWORD_PAGE
    if target and request.headers.get("hx-request"):
        # htmx follows a 303 inside the fragment; this header makes it leave the page.
        return Response(b"", status_code=told.status, headers={"HX-Redirect": target}, media_type="text/html")
    if target:
        return Response(b"", status_code=303, headers={"Location": target}, media_type="text/html")
    try:
        page: Response[Any] = request.app.state.render_error(request, told, request_id)
    except Exception:
        # Broad: an error page that fails must not hide the error: it is drawn without templates instead.
        logger.exception("Request %s: the error page failed", request_id)
    else:
        return page
    return Response(
        _plain_page(told, request_id), status_code=told.status, media_type="text/html", headers=dict(told.headers)
    )


def _page_of(request: Request[Any, Any, Any]) -> str:
    """The page that the person sees, to come back to: of a form or a part of a page that is where it was sent from."""
    address = request.url
    if request.headers.get("hx-request") or request.method != "GET":
        sent_from = address_parts(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
        if sent_from.netloc != address.netloc:
            return address.path if request.method == "GET" else ""
        return local_path(sent_from.path + (f"?{sent_from.query}" if sent_from.query else ""))
    return address.path + (f"?{address.query}" if address.query else "")


def _plain_page(told: AppError, request_id: str) -> str:
    title = HTTPStatus(told.status).phrase
    lines = (told.message, told.remediation, f"Request {request_id}")
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f'<body><main><h1>{told.status} {title}</h1>{paragraphs}<p><a href="/">Overview</a></p></main></body></html>'
    )


def _fields(error: ValidationException) -> dict[str, str]:
    """Field name → reason, from what msgspec and Litestar say about a body or parameters."""
    fields: dict[str, str] = {}
    extra = error.extra if isinstance(error.extra, list) else []
    for item in extra:
        if isinstance(item, dict):
            message = str(item.get("message", "is not valid"))
            key = str(item.get("key", "data"))
            if key == "data" and message == _NO_BODY:
                message = "The request has no body."
            fields[(_named_in(message) or "body") if key == "data" else key] = message
    return fields


def _named_in(message: str) -> str:
    """The field in msgspec's "Object contains unknown field `x`" and "missing required field `x`"."""
    parts = message.split("`")
    return parts[1] if len(parts) >= 3 and "field" in parts[0] else ""
