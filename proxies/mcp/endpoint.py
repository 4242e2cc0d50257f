"""Joins MCP over Streamable HTTP to the transport: one admitted HTTP request from its route to its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from proxies import off_loop
from proxies.carried import CarriedRequest
from proxies.exchange import Exchange
from proxies.mcp import legacy, legacy_streams, modern
from proxies.mcp.calls import JSON_HEADERS
from proxies.mcp.denials import denial
from proxies.mcp.downstreams import sse, websocket
from proxies.mcp.eras import VERSION_HEADER, era_of, names_modern_version
from proxies.mcp.media_types import accepted, check_post, not_acceptable
from proxies.mcp.messages import PARSE_ERROR
from proxies.mcp.refusals import RPCRefusal
from proxies.mcp.upstream import SESSION_HEADER
from proxies.refusal import Refusal
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.http1_server import Request

CARRIERS: Final[dict[str, Callable[[Exchange], Awaitable[None]]]] = {
    sse.SSE_PATH: sse.serve_stream,
    sse.MESSAGES_PATH: sse.serve_message,
    websocket.PATH: websocket.serve,
    websocket.TICKET_PATH: websocket.serve_ticket,
}
"""What carries the messages of clients that do not speak Streamable HTTP, by path."""
_PATHS: Final = frozenset({"", "/mcp"})
"""Where the endpoint answers besides the target's own path; a final slash makes no difference."""


def is_carrier(request: Request) -> bool:
    """Whether a request only carries messages that become calls of their own."""
    return request.path in CARRIERS and not isinstance(request, CarriedRequest)


async def serve(exchange: Exchange) -> None:
    """One MCP request; raises `Refusal`, `UpstreamError` or `BodyError`."""
    request = exchange.request
    carried = isinstance(request, CarriedRequest)
    if not carried and exchange.proxy.carriers is not None and (serve_carrier := CARRIERS.get(request.path)):
        await serve_carrier(exchange)
        return
    path = request.path.rstrip("/")
    if not carried and path not in _PATHS and path != exchange.proxy.server.base_path:
        raise Refusal(404, "not_found", "There is no MCP endpoint at this path.", remediation="Use /mcp.")
    if request.method == "POST":
        await _post(exchange)
        return
    if request.method not in ("GET", "DELETE"):
        raise _method_not_allowed()
    # A dual-era endpoint tells them apart by the session, which the modern era does not have (M-09).
    if SESSION_HEADER not in request.headers or names_modern_version(request.headers.get(VERSION_HEADER)):
        raise _method_not_allowed()
    if request.method == "DELETE":
        await legacy_streams.serve_delete(exchange)
        return
    if "text/event-stream" not in accepted(request.headers):
        raise not_acceptable("text/event-stream")
    await legacy_streams.serve_get(exchange)


def render_refusal(exchange: Exchange, refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
    """A refusal as MCP clients read it (§2.10): what concerns the message itself is a JSON-RPC error on HTTP 200."""
    headers = list(JSON_HEADERS)
    if refusal.code == "not_found":
        return 404, headers, dump({"error": "not_found"})
    status = refusal.status
    if refusal.outcome == "blocked":
        if exchange.rpc_id is None:
            # A denied notification or response: accepted, dropped, recorded (D-03).
            return 202, [], b""
        status = 200
    elif refusal.outcome == "failed" and exchange.rpc_id is not None:
        status = 200
    return status, headers, dump(denial(exchange, exchange.rpc_id, refusal).body())


async def _post(exchange: Exchange) -> None:
    headers = exchange.request.headers
    check_post(headers)
    data = await exchange.request.body()
    exchange.request_bytes = len(data)
    exchange.lap("read_body", waiting=True)
    value = await off_loop.away(partial(_parse, data)) if len(data) > off_loop.LARGE_BYTES else _parse(data)
    exchange.lap("parse")
    if era_of(headers, value) == "modern":
        await modern.serve_post(exchange, value)
    else:
        await legacy.serve_post(exchange, value)


def _parse(data: bytes) -> Any:
    try:
        return parse(data)
    except JSONRefused as error:
        raise RPCRefusal(
            400, PARSE_ERROR, "invalid_json", str(error), remediation="Send one JSON-RPC message in UTF-8."
        ) from None


def _method_not_allowed() -> Refusal:
    return legacy_streams.no_stream()
