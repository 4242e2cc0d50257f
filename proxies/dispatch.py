"""From a request to its endpoint, and from whatever goes wrong to one answer and one record."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from proxies import pipeline
from proxies.contract import ProxyType
from proxies.exchange import Exchange, Recorder
from proxies.llm import endpoint as llm_endpoint
from proxies.mcp import endpoint as mcp_endpoint
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps import origin
from proxies.transport.errors import BodyError, UpstreamError
from proxies.transport.http1_server import Request, Response

logger = logging.getLogger(__name__)


class Endpoint(Protocol):
    """What a protocol offers: serve an admitted call, and say no in its own words."""

    def is_carrier(self, request: Request) -> bool:
        """Whether a request only carries messages that become calls of their own, so that it does not count as one."""

    async def serve(self, exchange: Exchange) -> None:
        """Everything between admission and the record; raises `Refusal`, `UpstreamError` or `BodyError`."""

    def render_refusal(self, exchange: Exchange, refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of a refusal in the client's dialect."""


ENDPOINTS: Final[dict[ProxyType, Endpoint]] = {"llm": llm_endpoint, "mcp": mcp_endpoint}


async def dispatch(proxy: ProxyRuntime, request: Request, response: Response, recorder: Recorder) -> None:
    """Serve one call and record it, whatever happens."""
    exchange = Exchange(proxy, request, response, recorder)
    endpoint = ENDPOINTS[proxy.config.type]
    try:
        pipeline.check_origin(exchange)
        if request.method == "OPTIONS" and origin.is_preflight(exchange):
            exchange.answer(204, origin.preflight_headers(exchange))
            return
        if request.path.startswith("/.well-known/"):
            # Clients ask for these without a credential and need a plain no, not a 401 (G-12).
            raise Refusal(404, "not_found", "There is no such document.", remediation="Use an API key.")
        pipeline.admit(exchange, counted=not endpoint.is_carrier(request))
        await endpoint.serve(exchange)
    except Refusal as refusal:
        _refuse(exchange, endpoint, refusal)
    except UpstreamError as error:
        _refuse(exchange, endpoint, _from_upstream(error))
    except BodyError as unreadable:
        _refuse(exchange, endpoint, _from_body(unreadable))
    except asyncio.CancelledError:
        # What was interrupted was a wait: for the upstream nearly always, and never the gateway's own work.
        exchange.lap("upstream", waiting=True)
        exchange.outcome = "client_closed"
        exchange.truncated = response.started
        raise
    except ConnectionResetError:
        # The client left while something was being written to it; the cancellation was on its way.
        exchange.outcome = "client_closed"
        exchange.truncated = response.started
    except Exception:
        # Broad: whatever fails, the call does not pass, and its one record says so.
        logger.exception("call %s failed inside the gateway", exchange.id)
        _refuse(exchange, endpoint, _INTERNAL)
    finally:
        exchange.record()


_INTERNAL: Final = Refusal(
    500,
    "gateway_error",
    "The gateway failed while handling this call, so it did not pass.",
    remediation="Try again; if it persists, give the request id to an administrator.",
    outcome="failed",
)


_BODY_REMEDIES: Final = {
    400: "Send the body whole and correctly framed.",
    408: "Send the body without long pauses.",
    413: "Send less, or ask an administrator to raise the setting max_request_size_mb.",
}


def _from_body(error: BodyError) -> Refusal:
    return Refusal(error.status, error.code, error.message, remediation=_BODY_REMEDIES.get(error.status, ""))


def _from_upstream(error: UpstreamError) -> Refusal:
    wait = error.retry_after_seconds
    return Refusal(
        error.status,
        error.code,
        error.message,
        remediation=error.remediation,
        outcome="upstream_error",
        detail=error.detail,
        headers=() if wait is None else (("retry-after", str(wait)),),
    )


def _refuse(exchange: Exchange, endpoint: Endpoint, refusal: Refusal) -> None:
    """Answer a refusal; an answer that has begun is cut instead, so that it cannot look complete."""
    exchange.outcome = refusal.outcome
    exchange.error_code = refusal.code
    exchange.reason = refusal.detail or refusal.message
    if exchange.response.started and not exchange.early:
        exchange.abort_answer()
        return
    status, headers, body = endpoint.render_refusal(exchange, refusal)
    exchange.answer(status, [*headers, *refusal.headers], body)
