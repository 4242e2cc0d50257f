"""The outermost layer: exact Host, no cross-site requests, a request id, and security headers on every response.

It wraps Litestar's own handler, so that refusals, 404, 500, redirects, static files and streams all pass through it
(ADM-07).
"""

from __future__ import annotations

import time

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPSendMessage, Message, Receive, Scope, Send

from app.errors import AppError, CrossSiteRefused
from app.http.problem import failure_json
from app.ids import new_id
from app.security.origin import Perimeter, host_is_allowed, refusal_reason

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-permitted-cross-domain-policies": "none",
}
# Under `no-referrer` a browser sends `Origin: null` with a form of our own page, which the origin check must refuse;
# under `same-origin` nothing leaves the site either.
PAGE_REFERRER_POLICY = "same-origin"
OTHER_REFERRER_POLICY = "no-referrer"
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
REQUEST_ID_HEADER = "x-request-id"
POLICY_VIOLATION = 1008
"""WebSocket close code of RFC 6455 section 7.4.1."""


class MisdirectedHost(AppError):
    code = "host_not_allowed"
    status = 421
    default_message = "This console does not answer under that host name."
    default_remediation = "Use the address that Ostiary printed at start, or add the name to OSTIARY_ALLOWED_HOSTS."


class OuterLayer:
    """ASGI application around the whole console."""

    def __init__(self, app: ASGIApp, perimeter: Perimeter, *, is_https: bool) -> None:
        self._app = app
        self._perimeter = perimeter
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what must not reach the router; let the rest through with a request id."""
        request_id = new_id("req")
        scope["state"]["request_id"] = request_id
        scope["state"]["received_at"] = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message, request_id)
            await send(message)

        if scope["type"] != ScopeType.HTTP:
            # The console has no WebSocket routes; should a server offer one, it is closed before anything looks at it.
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        body = failure_json(refusal, request_id)
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
        start: HTTPSendMessage = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await send_with_headers(start)
        await send_with_headers({"type": "http.response.body", "body": body, "more_body": False})

    def _refusal(self, scope: Scope) -> AppError | None:
        names = [value for name, value in scope["headers"] if name == b"host"]
        host = names[0].decode("latin-1") if len(names) == 1 else None
        if not host_is_allowed(host, self._perimeter):
            return MisdirectedHost()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reason = refusal_reason(str(scope.get("method", "GET")), headers, self._perimeter)
        return CrossSiteRefused(reason) if reason else None

    def _add_headers(self, message: Message, request_id: str) -> None:
        headers = MutableScopeHeaders.from_message(message)
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        is_page = headers.get("content-type", "").startswith("text/html")
        headers["referrer-policy"] = PAGE_REFERRER_POLICY if is_page else OTHER_REFERRER_POLICY
        headers.setdefault("cache-control", "no-store")
        headers[REQUEST_ID_HEADER] = request_id
        if self._is_https:
            headers["strict-transport-security"] = STRICT_TRANSPORT_SECURITY
