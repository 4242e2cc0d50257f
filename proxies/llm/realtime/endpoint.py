"""The opening handshake of a Realtime connection: everything that can refuse a client is asked before the 101."""

from __future__ import annotations

from typing import Final

from proxies import off_loop, pipeline
from proxies.exchange import Exchange
from proxies.llm.realtime.session import RealtimeSession
from proxies.llm.realtime.upstream import open_upstream, read_query
from proxies.llm.surfaces import Surface
from proxies.refusal import Refusal
from proxies.transport.http1_server import Request
from proxies.transport.websocket_server import HandshakeRefused, ServerWebSocket, offered_subprotocols

SUBPROTOCOL: Final = "realtime"
_PATHS: Final = {
    "/v1/realtime": "/v1/realtime",
    "/realtime": "/v1/realtime",
    "/openai/v1/realtime": "/openai/v1/realtime",
    "/openai/realtime": "/openai/realtime",
}
"""By the path that a client asks for, the one that the upstream is asked for below its own. The last two are Azure's."""


def is_realtime(request: Request) -> bool:
    """Whether a request opens a Realtime connection, well or badly."""
    return request.method == "GET" and request.path in _PATHS


async def serve(exchange: Exchange) -> None:
    """One connection, from its handshake to its end; raises `Refusal` or `UpstreamError` before it is open."""
    request = exchange.request
    exchange.protocol = Surface.OPENAI_REALTIME.value
    if "upgrade" not in request.headers:
        raise _no_handshake(426, "A Realtime connection is a WebSocket.")
    asked = read_query(request.query)
    model = asked.get("model") or asked.get("deployment") or asked.get("intent") or ""
    if not 0 < len(model) <= 200:
        raise Refusal(422, "invalid_model", "The query names no model.", remediation="Ask with '?model=...'.")
    exchange.operation = model
    await pipeline.ask_decision_service(exchange, {"model": model, "stream": True})
    if not exchange.protection.is_prepared:
        await off_loop.away(exchange.protection.prepare)
    offers = SUBPROTOCOL in offered_subprotocols(request)
    socket = ServerWebSocket(
        max_message_bytes=exchange.proxy.config.limits.max_body_bytes, subprotocols=[SUBPROTOCOL] if offers else []
    )
    upstream = await open_upstream(exchange, _PATHS[request.path], asked)
    try:
        socket.accept(request, exchange.response)
    except HandshakeRefused as refused:
        upstream.abort()
        raise _no_handshake(refused.status, str(refused)) from None
    exchange.status = 101
    exchange.streamed = True
    exchange.operation = "connection"
    await RealtimeSession(exchange, socket, upstream, model).run()


def _no_handshake(status: int, reason: str) -> Refusal:
    return Refusal(
        status,
        "websocket_handshake",
        reason,
        remediation="Open a WebSocket (version 13).",
        headers=(("upgrade", "websocket"),) if status == 426 else (),
    )
