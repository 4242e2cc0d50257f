"""WebSocket clients (W-01..W-04): each text frame is one JSON-RPC message, each message a call of its own.

No revision of MCP defines this transport; the SDKs that have it agree on the sub-protocol `mcp` and on one message a
frame. Everything that can refuse a client is asked before the 101: Host, Origin, credential, sub-protocol.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from proxies.carriers import Carriers
from proxies.exchange import Exchange
from proxies.mcp.calls import JSON_HEADERS
from proxies.mcp.control.server import server_of
from proxies.mcp.downstreams.client import CarriedClient
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps import authenticate
from proxies.strict_json import dump
from proxies.tickets import TICKET_SECONDS
from proxies.transport.websocket_server import (
    GOING_AWAY,
    INVALID_DATA,
    POLICY,
    SERVICE_RESTART,
    HandshakeRefused,
    ServerWebSocket,
    offered_subprotocols,
)

PATH: Final = "/ws"
TICKET_PATH: Final = "/ws/ticket"
SUBPROTOCOL: Final = "mcp"
MAX_MALFORMED: Final = 5
"""Messages that are no JSON which one connection may send and be told so; the next one ends it."""


class WebSocketSession:
    """One connection and the calls that it carries."""

    def __init__(self, exchange: Exchange, carriers: Carriers) -> None:
        self._exchange = exchange
        self._carriers = carriers
        self._upstream = exchange.proxy.upstream
        self._malformed = 0
        self.socket = ServerWebSocket(
            max_message_bytes=exchange.proxy.config.limits.max_body_bytes, subprotocols=[SUBPROTOCOL]
        )
        self.client = CarriedClient(
            carriers,
            exchange.request,
            proxy_id=exchange.proxy.config.id,
            catalogue=server_of(exchange.proxy).catalogue,
            key_digest=exchange.key_digest,
            deliver=self._deliver,
            on_lost=self._lose,
        )

    def recheck(self, proxy: ProxyRuntime) -> None:
        """See `Carrier`."""
        exchange = self._exchange
        if proxy.upstream is not self._upstream:
            self._close(SERVICE_RESTART, "the server behind the proxy is another one now")
        elif not authenticate.still_holds(proxy, exchange.key_digest, exchange.principal.id):
            self._lose("the key is not valid any more")
        else:
            self.client.touch(exchange.principal.id)

    async def run(self) -> None:
        """Take messages until the connection is closed by either side."""
        self._exchange.response.end_on_drain(self._drain)
        while (text := await self.socket.receive()) is not None:
            self._exchange.request_bytes += len(text)
            answer = await self.client.take(text.encode("utf-8"))
            if answer is not None and answer.status == 400 and answer.body:
                await self._malformed_message(answer.body.decode())

    async def _deliver(self, text: str) -> None:
        self._exchange.response_bytes += len(text)
        await self.socket.send(text)

    async def _malformed_message(self, body: str) -> None:
        """Nobody waits for an answer, so the client is told by an error without id, a few times."""
        self._malformed += 1
        if self._malformed > MAX_MALFORMED:
            self._close(INVALID_DATA, "too many malformed messages")
        elif not self.socket.over:
            await self._deliver(body)

    def _drain(self) -> None:
        """The listener drains: no further message, but what is under way may be answered."""
        self.client.drain()
        self._carriers.start(self._go_away())

    async def _go_away(self) -> None:
        await self.client.settle()
        self._close(GOING_AWAY, "the proxy stops")

    def _lose(self, reason: str) -> None:
        self._close(POLICY, reason)

    def _close(self, code: int, reason: str) -> None:
        if not self.socket.over:
            self._exchange.reason = f"The connection was closed: {reason}."
            self.socket.close(code, reason)


async def serve(exchange: Exchange) -> None:
    """`GET /ws`: the opening handshake, then the connection to its end."""
    exchange.protocol = "mcp.websocket"
    exchange.operation = "connection"
    carriers = exchange.proxy.carriers
    assert carriers is not None  # Asked by `endpoint.serve`.
    if SUBPROTOCOL not in offered_subprotocols(exchange.request):
        raise _no_handshake(400, f"The sub-protocol {SUBPROTOCOL} was not offered.")
    session = WebSocketSession(exchange, carriers)
    try:
        session.socket.accept(exchange.request, exchange.response)
    except HandshakeRefused as refused:
        raise _no_handshake(refused.status, str(refused)) from None
    exchange.status = 101
    exchange.streamed = True
    carriers.add(session)
    running = asyncio.get_running_loop().create_task(session.run())
    # A message that waits for its turn must not outlive the connection.
    session.socket.on_over = partial(_stop, running)
    try:
        await asyncio.wait({running})
        if not running.cancelled():
            running.result()
    finally:
        running.cancel()
        carriers.discard(session)
        exchange.lap("downstream", waiting=True)
        carriers.start(session.client.close())
        session.socket.finish()


async def serve_ticket(exchange: Exchange) -> None:
    """`POST /ws/ticket`: a one-time ticket for clients that cannot send their key with a WebSocket (W-03)."""
    exchange.protocol = "mcp.websocket"
    exchange.operation = "ticket"
    carriers = exchange.proxy.carriers
    assert carriers is not None  # Asked by `endpoint.serve`.
    if exchange.request.method != "POST":
        raise Refusal(
            405,
            "method_not_allowed",
            "A ticket is made by POST.",
            remediation="Send POST with your key.",
            headers=(("allow", "POST"),),
        )
    ticket = carriers.tickets.issue(exchange.key_digest)
    exchange.answer(200, JSON_HEADERS, dump({"ticket": ticket, "expires_in": int(TICKET_SECONDS)}))


def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()


def _no_handshake(status: int, reason: str) -> Refusal:
    return Refusal(
        status,
        "websocket_handshake",
        reason,
        remediation=f"Open a WebSocket (version 13) with the sub-protocol {SUBPROTOCOL}.",
        headers=(("upgrade", "websocket"),) if status == 426 else (),
    )
