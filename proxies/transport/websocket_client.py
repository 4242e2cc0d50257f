"""A WebSocket to an upstream (RFC 6455): the sans-I/O protocol of `websockets` on a connection of our own dialler (W-01, W-02).

Text messages only, no compression, every message bounded, the peer's life checked by pings.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from proxies.transport.errors import (
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamIdleTimeout,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTruncated,
)

PING_SECONDS: Final = 20.0
"""A ping is sent so often; a peer from which nothing has come until the next one is gone."""
READ_AHEAD_BYTES: Final = 256 * 1024
CLOSE_SECONDS: Final = 2.0
MAX_REASON_CHARACTERS: Final = 60
MAX_FIELD_CHARACTERS: Final = 1_000

_silent = logging.getLogger("websockets.client.silent")
_silent.disabled = True  # It would log what peers send.


class WebSocketConnection(asyncio.Protocol):
    """One connection, from its handshake to its end. `url` is `ws(s)://…`; an empty `subprotocol` asks for none."""

    def __init__(
        self,
        url: str,
        subprotocol: str,
        headers: Sequence[tuple[str, str]],
        *,
        max_message_bytes: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = ClientProtocol(
            parse_uri(url),
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            max_size=max_message_bytes,
            logger=_silent,
        )
        self._subprotocol = subprotocol
        self._headers = headers
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # Set by connection_made, before any use.
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._error: UpstreamError | None = None
        self._messages: deque[bytes] = deque()
        self._fragments: list[bytes] = []
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self._heard = True
        self._pinger: asyncio.TimerHandle | None = None

    # --- For callers ----------------------------------------------------------------------------------------------

    async def open(self, seconds: float) -> None:
        """Shake hands; raises UpstreamError. The peer must agree to the sub-protocol."""
        request = self._protocol.connect()
        for name, value in self._headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        try:
            async with asyncio.timeout(seconds):
                await self._opened
        except TimeoutError as error:
            self.abort()
            raise UpstreamFirstByteTimeout("The upstream did not answer the WebSocket handshake in time.") from error
        if self._protocol.subprotocol != (self._subprotocol or None):
            self.abort()
            raise UpstreamProtocolError(f"The upstream's WebSocket does not speak {self._subprotocol}.")
        self._pinger = self._loop.call_later(PING_SECONDS, self._ping)

    async def send(self, message: bytes) -> None:
        """Send a text message; waits while the peer does not read. Raises UpstreamError."""
        self._check()
        self._protocol.send_text(message)
        self._flush()
        await self._writable.wait()
        self._check()

    async def receive(self) -> bytes:
        """The next message; raises UpstreamError when there will be none."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._waiting_bytes -= len(message)
        if self._paused and self._waiting_bytes < READ_AHEAD_BYTES:
            self._paused = False
            self._transport.resume_reading()
        return message

    @property
    def close_code(self) -> int | None:
        """The code with which the peer closed; None while it has not, or where it left without one."""
        received = self._protocol.close_rcvd
        return int(received.code) if received is not None else None

    async def aclose(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Say goodbye, wait a moment, close."""
        if self._protocol.state is State.OPEN and self._error is None:
            self._protocol.send_close(code)
            self._flush()
            await asyncio.wait({self._closed}, timeout=CLOSE_SECONDS)
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._end(UpstreamTruncated("The WebSocket was closed by the gateway."))
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open (and TLS is up)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._heard = True
        self._protocol.receive_data(data)
        self._handle()

    def eof_received(self) -> bool:
        """The peer sends no more."""
        self._protocol.receive_eof()
        self._handle()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end(UpstreamTruncated("The upstream closed its WebSocket."))
        self._writable.set()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._writable.set()

    # --- Internals ------------------------------------------------------------------------------------------------

    def _handle(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._shaken(event)
            elif isinstance(event, Frame):
                self._frame(event)
        if self._protocol.handshake_exc is not None and not self._opened.done():
            self._end(_handshake_error(self._protocol.handshake_exc))
        self._flush()
        if self._protocol.state in (State.CLOSING, State.CLOSED) and self._opened.done():
            self._end(self._closing_error())

    def _shaken(self, response: Response) -> None:
        if self._protocol.state is State.OPEN and not self._opened.done():
            self._opened.set_result(None)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "text only")
            self._end(UpstreamProtocolError("The upstream sent a binary message."))
            return
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            message = b"".join(self._fragments)
            self._fragments.clear()
            self._messages.append(message)
            self._waiting_bytes += len(message)
            self._arrived.set()
            if self._waiting_bytes >= READ_AHEAD_BYTES and not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.write_eof() if self._transport.can_write_eof() else self._transport.close()

    def _ping(self) -> None:
        if self._error is not None:
            return
        if not self._heard and not self._paused:
            self._end(UpstreamIdleTimeout("The upstream's WebSocket does not answer any more."))
            self._transport.abort()
            return
        self._heard = False
        self._protocol.send_ping(b"")
        self._flush()
        self._pinger = self._loop.call_later(PING_SECONDS, self._ping)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._protocol.state is not State.OPEN:
            raise UpstreamTruncated("The upstream's WebSocket is closing.")

    def _end(self, error: UpstreamError) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._pinger is not None:
            self._pinger.cancel()
        self._arrived.set()
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # Whoever waits for it still gets it; nobody else need.

    def _closing_error(self) -> UpstreamError:
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if sent is not None and received is None:
            return UpstreamProtocolError(f"The upstream broke the rules of WebSocket ({sent.code}).")
        code = received.code if received is not None else CloseCode.ABNORMAL_CLOSURE
        return UpstreamTruncated(f"The upstream closed its WebSocket ({code}).")


def _handshake_error(error: Exception) -> UpstreamError:
    if isinstance(error, InvalidStatus):
        response = error.response
        message = f"The upstream answered the WebSocket handshake with HTTP {response.status_code}."
        fields = {name.lower(): value[:MAX_FIELD_CHARACTERS] for name, value in response.headers.raw_items()}
        return UpstreamRefused(message, response.status_code, fields)
    if isinstance(error, InvalidHandshake | InvalidURI):
        return UpstreamProtocolError("The upstream's answer to the WebSocket handshake is not acceptable.")
    return UpstreamTruncated("The upstream ended the connection during the WebSocket handshake.")
