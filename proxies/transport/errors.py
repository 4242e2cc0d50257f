"""What can go wrong on the wire, on both sides. Every error carries the status and the code that a client would see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class RequestRefused(Exception):
    """The request's framing is not acceptable: answer with `status`, close the connection, forward nothing."""

    def __init__(self, status: int, code: str, message: str, *, allow: str = "") -> None:
        """`allow` names the methods that are served, which a 405 has to (RFC 9110, 15.5.6)."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.allow = allow


class BodyError(Exception):
    """The request body cannot be had. The connection is closed after the answer."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_body"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BodyTooLarge(BodyError):
    """The body is, or declares itself, longer than `Limits.max_body_bytes`."""

    status = 413
    code = "body_too_large"


class BodyTimeout(BodyError):
    """The body did not arrive within its deadline or fell below the minimum rate."""

    status = 408
    code = "body_timeout"


class BadBody(BodyError):
    """The chunked coding is malformed, or the client left before the end."""


class UpstreamError(Exception):
    """The upstream did not give a complete and well-formed answer.

    `message` is safe to show to the client; `detail` is what operators find in the call's record instead, where the
    client must not learn as much.
    """

    status: ClassVar[int] = 502
    default_code: ClassVar[str] = "upstream_error"
    retry_after_seconds: int | None = None
    """When a client may try again, where that is known."""
    remediation: ClassVar[str] = "Check that the upstream is up and that the proxy's target is right."

    def __init__(self, message: str, *, code: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.detail = detail


class UpstreamRefused(UpstreamError):
    """The upstream answers the opening of a stream or of a WebSocket with an HTTP status."""

    def __init__(self, message: str, refused_with: int, fields: Mapping[str, str]) -> None:
        super().__init__(message)
        self.refused_with = refused_with
        self.fields = dict(fields)
        """Of the answer, by lower-case names; for whoever looks into the refusal, never for clients."""


class UpstreamUnreachable(UpstreamError):
    """No connection, or one that was lost before the first byte of an answer."""

    default_code = "upstream_unreachable"


class UpstreamDowngraded(UpstreamError):
    """The upstream speaks an older era than before, and the proxy refuses that."""

    default_code = "downgrade_refused"
    remediation = (
        "Ask an administrator to look at the server, or to switch off refuse_downgrade once the older era is meant."
    )


class UpstreamBusy(UpstreamError):
    """Every connection that the pool may open was in use for as long as the request could wait."""

    status = 503
    default_code = "upstream_busy"


class UpstreamCircuitOpen(UpstreamError):
    """The upstream gave no answer so often that it is left alone for a while; nothing was sent."""

    status = 503
    default_code = "upstream_circuit_open"

    def __init__(self, message: str, *, retry_after_seconds: int, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after_seconds = retry_after_seconds


class UpstreamConnectTimeout(UpstreamError):
    """Name, TCP or TLS took longer than `Limits.connect_timeout_seconds`."""

    status = 504
    default_code = "upstream_connect_timeout"


class UpstreamFirstByteTimeout(UpstreamError):
    """No response head within `Limits.first_byte_timeout_seconds`."""

    status = 504
    default_code = "upstream_first_byte_timeout"


class UpstreamIdleTimeout(UpstreamError):
    """Silence in the middle of a response for `Limits.idle_timeout_seconds`."""

    status = 504
    default_code = "upstream_idle_timeout"


class UpstreamTotalTimeout(UpstreamError):
    """The exchange took longer than `Limits.total_timeout_seconds`."""

    status = 504
    default_code = "upstream_total_timeout"


class UpstreamProtocolError(UpstreamError):
    """The response breaks HTTP/1.1 framing; its connection has been discarded."""

    default_code = "upstream_protocol_error"


class UpstreamTruncated(UpstreamError):
    """The response ended before its declared end."""

    default_code = "upstream_truncated"


class UpstreamTooLarge(UpstreamError):
    """The response is longer than the caller allows."""

    default_code = "upstream_too_large"


class UpstreamProxyError(UpstreamError):
    """The HTTP proxy on the way to the upstream does not let the request pass."""

    default_code = "upstream_proxy_refused"
    remediation = (
        "Ask an administrator to check the settings http_proxy, https_proxy and no_proxy, and that proxy's rules."
    )

    @classmethod
    def from_status(cls, status: int) -> UpstreamProxyError:
        """The error for what the proxy answered on its own account."""
        detail = f"The proxy on the way to the upstream answered {status}."
        if status == 407:
            message = "The proxy on the way to the upstream wants other credentials."
            return cls(message, code="upstream_proxy_auth", detail=f"{detail} Correct its user and password.")
        return cls("The proxy on the way to the upstream refused the connection.", detail=detail)


class UpstreamProxyUnreachable(UpstreamProxyError):
    """The HTTP proxy on the way to the upstream is not there."""

    default_code = "upstream_proxy_unreachable"
