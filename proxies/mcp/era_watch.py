"""A server that does not speak the era of a client: said in a way that helps, and watched for falling back (E-02..E-06)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp.bridge.eras import Discovery, is_evidence
from proxies.mcp.downgrade import note_downgrade
from proxies.mcp.drain import Answer
from proxies.mcp.eras import MODERN_VERSIONS
from proxies.mcp.messages import INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_VERSION
from proxies.mcp.refusals import RPCRefusal, printable
from proxies.mcp.upstream import failed, is_stream, own_headers
from proxies.refusal import Refusal
from proxies.transport.errors import UpstreamError
from proxies.transport.sse import SSEParser, SSETooLarge

FIRST_EVENT_SECONDS: Final = 5.0
MAX_FIRST_EVENT_BYTES: Final = 4096
EVIDENCE: Final = 400
"""The status of a refusal that says something about the era."""
_NOT_KNOWN: Final = frozenset({METHOD_NOT_FOUND, UNSUPPORTED_VERSION})
# Most clients show their user the message of an error and nothing else, so it says what helps as well.
_INITIALIZE: Final = "Connect with initialize, or ask an administrator to set the proxy's era to bridge."
_NEWER_CLIENT: Final = "Use a newer client, or ask an administrator to set the proxy's era to bridge."


def note_modern(exchange: Exchange) -> None:
    """The server has answered a modern request."""
    if exchange.proxy.eras is not None and not exchange.proxy.eras.bridged:
        exchange.proxy.eras.note_modern()


async def doubt(exchange: Exchange, status: int) -> Discovery | None:
    """Ask a server again that refused a modern request, where that contradicts what is known of it."""
    eras = exchange.proxy.eras
    if eras is None or eras.bridged or not is_evidence(status):
        return None
    try:
        found = await eras.era(own_headers(exchange.proxy), exchange.principal.id, fresh=eras.verdict == "modern")
    except UpstreamError:
        return None
    note_downgrade(exchange)
    eras.check()
    return found


async def not_modern(exchange: Exchange, response: Answer) -> Refusal:
    """The refusal for a modern client whose request the server did not take."""
    found = await doubt(exchange, response.status)
    return legacy_only() if found is not None and found.era == "legacy" else failed(response, modern=True)


def legacy_only() -> RPCRefusal:
    """What a modern client is told of a legacy server. The code is none of the modern era, so that a client that only
    probed falls back (E-06)."""
    return RPCRefusal(
        400,
        INVALID_REQUEST,
        "era_not_spoken",
        f"The server speaks legacy protocol versions only, and this proxy does not translate. {_INITIALIZE}",
        remediation=_INITIALIZE,
        outcome="upstream_error",
    )


def modern_only(requested: Any) -> RPCRefusal:
    """What a legacy client is told of a modern server: the versions that it speaks (E-06)."""
    return RPCRefusal(
        400,
        UNSUPPORTED_VERSION,
        "era_not_spoken",
        f"The server speaks modern protocol versions only, and this proxy does not translate. {_NEWER_CLIENT}",
        data={
            "supported": list(MODERN_VERSIONS),
            "requested": printable(str(requested)),
            "remediation": _NEWER_CLIENT,
        },
        outcome="upstream_error",
    )


async def check_knows_initialize(exchange: Exchange, error: dict[str, Any], requested: Any) -> None:
    """Raise what helps where a server answers `initialize` by saying that it has no such method, since it is modern."""
    if error.get("code") not in _NOT_KNOWN:
        return
    found = await doubt(exchange, EVIDENCE)
    if found is not None and found.era == "modern":
        raise modern_only(requested)


async def not_legacy(exchange: Exchange, response: Answer, requested: Any) -> Refusal:
    """The refusal for a legacy client whose initialize the server did not take."""
    refusal = failed(response, modern=False)
    if not is_evidence(response.status):
        return refusal
    found = await doubt(exchange, response.status)
    if found is not None and found.era == "modern":
        return modern_only(requested)
    if response.status in (400, 404, 405) and await _is_http_sse(exchange):
        return Refusal(
            502,
            "transport_not_spoken",
            "The server speaks the older HTTP+SSE transport.",
            remediation="Ask an administrator to set the proxy's transport to sse.",
            outcome="upstream_error",
        )
    return refusal


async def _is_http_sse(exchange: Exchange) -> bool:
    """Whether a GET brings an event stream whose first event names an endpoint (E-02)."""
    server = exchange.proxy.server
    headers = [(name, value) for name, value in own_headers(exchange.proxy) if name != "accept"]
    headers.append(("accept", "text/event-stream"))
    try:
        answer = await server.request(
            "GET", "" if server.base_path else "/", headers, b"", principal_id=exchange.principal.id, endless=True
        )
        try:
            if answer.status != 200 or not is_stream(answer):
                return False
            return await _names_endpoint(answer)
        finally:
            answer.close()
    except UpstreamError:
        return False


async def _names_endpoint(answer: Answer) -> bool:
    parser = SSEParser(MAX_FIRST_EVENT_BYTES)
    try:
        async with asyncio.timeout(FIRST_EVENT_SECONDS):
            async for chunk in answer:
                for event in parser.feed(chunk):
                    return event.event == "endpoint"
    except (SSETooLarge, TimeoutError):
        return False
    return False
