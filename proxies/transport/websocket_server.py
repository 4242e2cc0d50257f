"""The server's end of a WebSocket connection (RFC 6455), on a connection that began as HTTP/1.1.

`websockets` knows the protocol (sans-I/O), `ServerConnection` the socket; this joins them: whole text messages with a
bound on their size, back-pressure in both directions, pings that find out whether the client is still there. Nothing is
compressed, so that what a message costs is what it weighs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as HandshakeRequest
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from proxies.transport.server_messages import Connection, Request, Response

MAX_WAITING_BYTES: Final = 256 * 1024
"""Received and not yet consumed text at which reading from the client pauses."""
MAX_WAITING_MESSAGES: Final = 64
PING_SECONDS: Final = 20.0
"""A client from which nothing came for this long is pinged; one that is silent for as long again is gone."""
CLOSE_SECONDS: Final = 5.0
"""How long a client may take to answer a close frame."""

POLICY: Final = int(CloseCode.POLICY_VIOLATION)
GOING_AWAY: Final = int(CloseCode.GOING_AWAY)
INVALID_DATA: Final = int(CloseCode.INVALID_DATA)
INTERNAL_ERROR: Final = int(CloseCode.INTERNAL_ERROR)
SERVICE_RESTART: Final = int(CloseCode.SERVICE_RESTART)
_UNSUPPORTED: Final = CloseCode.UNSUPPORTED_DATA
_HANDSHAKE_FIELDS: Final = ("host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version")


class HandshakeRefused(Exception):
    """The request is no opening handshake that can be accepted; `status` is what HTTP has for that."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def offered_subprotocols(request: Request) -> tuple[str, ...]:
    """The sub-protocols that the client names, in its order."""
    values = ",".join(request.headers.getall("sec-websocket-protocol")).split(",")
    return tuple(stripped for value in values if (stripped := value.strip(" \t")))


class ServerWebSocket:
    """One connection. `accept` answers 101; then `receive`, `send` and `close`, and `finish` at the end."""

    def __init__(self, *, max_message_bytes: int, subprotocols: Sequence[str]) -> None:
        self._subprotocols = tuple(subprotocols)
        self._protocol = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in subprotocols], max_size=max_message_bytes
        )
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._response: Response | None = None
        self._message = bytearray()
        self._waiting: deque[str] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._over = False
        self._heard = True
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None
        self.on_over: Callable[[], None] | None = None
        """Called once when no more messages will come."""

    def __repr__(self) -> str:
        return f"<ServerWebSocket {self._protocol.state.name} waiting={len(self._waiting)}>"

    @property
    def close_code(self) -> int | None:
        """The code that ended the connection, whoever sent it first; None while it is open, or where there was none."""
        close = self._protocol.close_sent or self._protocol.close_rcvd
        return int(close.code) if close is not None else None

    @property
    def over(self) -> bool:
        """Whether either side has closed."""
        return self._over

    def accept(self, request: Request, response: Response) -> None:
        """Answer the opening handshake; raises HandshakeRefused and sends nothing when it cannot be accepted."""
        self._protocol.receive_data(_head_of(request, self._subprotocols))
        events = self._protocol.events_received()
        if not events or not isinstance(events[0], HandshakeRequest):
            raise HandshakeRefused(400, "The opening handshake is malformed.")
        answer = self._protocol.accept(events[0])
        if answer.status_code != 101:
            raise HandshakeRefused(answer.status_code, "This is no WebSocket opening handshake of version 13.")
        self._protocol.send_response(answer)
        self._response = response
        self._connection = response.switch_protocols(b"".join(self._protocol.data_to_send()), self)
        self._timer = self._loop.call_later(PING_SECONDS, self._tick)

    async def receive(self) -> str | None:
        """The next message; None when no more will come."""
        while not self._waiting:
            if self._over:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        text = self._waiting.popleft()
        self._waiting_bytes -= len(text)
        if self._connection is not None and not self._is_full():
            self._connection.hold_reading(hold=False)
        return text

    async def send(self, text: str) -> None:
        """Send one message at the pace of the client; raises ConnectionResetError when it is gone."""
        if self._protocol.state is not OPEN or self._connection is None:
            raise ConnectionResetError("the WebSocket is closed")
        self._protocol.send_text(text.encode("utf-8", "replace"))
        self._flush()
        try:
            await self._connection.drained()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._over and task is not None and not task.cancelling():
                # What was cancelled is the wait for a client that left, not the caller.
                raise ConnectionResetError("the client closed the connection") from None
            raise

    def close(self, code: int, reason: str) -> None:
        """Begin to close; harmless when the connection is closed or closing already."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        self._end()

    def finish(self) -> None:
        """The handler is done: the socket may be closed."""
        self._end()
        if self._response is not None and not self._response.finished:
            self._response.finish()

    # --- Receiver -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `Receiver`."""
        self._heard = True
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and not self._over:
                self._frame_received(event)
        self._flush()
        if self._protocol.state is not OPEN:
            self._end()
        if self._is_full() and self._connection is not None:
            self._connection.hold_reading(hold=True)

    def connection_lost(self) -> None:
        """See `Receiver`."""
        self._connection = None
        self._protocol.receive_eof()
        self._end()

    # --- Internals ----------------------------------------------------------------------------------------------------

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(_UNSUPPORTED, "only text messages are understood")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._message += frame.data
            if not frame.fin:
                return
            try:
                text = self._message.decode("utf-8")
            except UnicodeDecodeError:
                self._protocol.fail(CloseCode.INVALID_DATA, "a text message is not UTF-8")
                return
            finally:
                self._message = bytearray()
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            self._arrived.set()

    def _is_full(self) -> bool:
        return self._waiting_bytes > MAX_WAITING_BYTES or len(self._waiting) > MAX_WAITING_MESSAGES

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data and self._connection is not None:
            self._connection.send_bytes(data)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._arrived.set()
        if self.on_over is not None:
            self.on_over()

    def _tick(self) -> None:
        if not self._heard and self._pinged:
            self.close(INTERNAL_ERROR, "no answer to a ping")
            return
        self._pinged = not self._heard
        self._heard = False
        try:
            self._protocol.send_ping(b"")
        except InvalidState:
            return
        self._flush()
        self._timer = self._loop.call_later(PING_SECONDS, self._tick)


def _head_of(request: Request, subprotocols: Sequence[str]) -> bytes:
    """The opening handshake for `websockets`: what was read, with the fields that concern it and no others.

    Of the sub-protocols offered only those that may be agreed on: another one can be a key or a ticket.
    """
    lines = [f"GET {request.target} HTTP/{request.http_version}".encode("latin-1")]
    for name, value in request.headers.items():
        if name in _HANDSHAKE_FIELDS:
            lines.append(f"{name}: {value}".encode("latin-1"))
    if common := [name for name in offered_subprotocols(request) if name in subprotocols]:
        lines.append(f"sec-websocket-protocol: {', '.join(common)}".encode("latin-1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"
