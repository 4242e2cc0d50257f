"""One connection to an upstream: it carries one exchange at a time.

What it reads goes to the current `UpstreamResponse`. As soon as the message is complete the connection goes back to its
pool, even if the caller has not consumed all of it yet.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from proxies.transport.chunked import ChunkedDecoder, ChunkedError
from proxies.transport.errors import (
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamIdleTimeout,
    UpstreamProtocolError,
    UpstreamTotalTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from proxies.transport.limits import Bounds
from proxies.transport.outgoing import Outgoing
from proxies.transport.response_guard import CHUNKED, UNTIL_CLOSE, ResponseHead, check_partial_head, parse_response_head
from proxies.transport.upstream_response import UpstreamResponse

_HEAD_END = b"\r\n\r\n"


class LostBeforeAnswer(UpstreamUnreachable):
    """The connection ended before the first byte of an answer: the one failure after which a request may be sent
    again (HTTP-20). Only the pool sees the difference."""


class UpstreamConnection(asyncio.Protocol):
    """Protocol of one socket to an upstream. `released` is called when an exchange is over and the connection may be
    used again, `lost` once when the socket is gone."""

    __slots__ = (
        "_bounds",
        "_buffer",
        "_deadline",
        "_decoder",
        "_due",
        "_early",
        "_idle_seconds",
        "_informational",
        "_keep_alive",
        "_loop",
        "_lost",
        "_outgoing",
        "_paused",
        "_received",
        "_released",
        "_response",
        "_total_deadline",
        "_transport",
        "closed",
        "exchanges",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
        released: Callable[[UpstreamConnection], None],
        lost: Callable[[UpstreamConnection], None],
    ) -> None:
        self._loop = loop
        self._bounds = bounds
        self._released = released
        self._lost = lost
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # Set by connection_made, before any use.
        self._outgoing = Outgoing(loop)
        self._response: UpstreamResponse | None = None
        self._buffer = bytearray()
        self._decoder: ChunkedDecoder | None = None
        self._due = 0
        self._keep_alive = False
        self._early = False
        self._paused = False
        self._received = False
        self._informational = 0
        self._idle_seconds = 0.0
        self._deadline = 0.0
        self._total_deadline = 0.0
        self.closed = False
        self.exchanges = 0

    @property
    def usable(self) -> bool:
        """Whether a request may be written: nothing has been heard of an end."""
        return not self.closed and not self._transport.is_closing()

    # --- An exchange --------------------------------------------------------------------------------------------

    def begin(
        self,
        response: UpstreamResponse,
        request: bytes,
        *,
        first_byte_seconds: float,
        idle_seconds: float,
        total_deadline: float,
    ) -> None:
        """Write the request and deliver what comes back to `response`. `total_deadline` is loop time."""
        self.exchanges += 1
        if self.closed:
            response.fail(LostBeforeAnswer("The upstream closed the connection without an answer."))
            return
        self._response = response
        response.attach(self, self._loop)
        self._received = False
        self._early = False
        self._informational = 0
        self._idle_seconds = idle_seconds
        self._deadline = self._loop.time() + first_byte_seconds
        self._total_deadline = total_deadline
        self._outgoing.write(request)

    def abort(self) -> None:
        """Drop the connection and whatever is under way on it."""
        self._response = None
        self.closed = True
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self.closed = True
        self._transport.close()

    def resume(self) -> None:
        """The caller has consumed: read on."""
        if self._paused and not self.closed:
            self._paused = False
            self._deadline = self._loop.time() + self._idle_seconds
            self._transport.resume_reading()

    def idle_for(self, seconds: float) -> None:
        """The pool keeps the connection for so long."""
        self._deadline = self._loop.time() + seconds

    def tick(self, now: float) -> None:
        """Compare the deadlines with the clock; called by the pool's sweep."""
        response = self._response
        if response is None:
            if now > self._deadline and not self.closed:
                self.close()
        elif now > self._total_deadline:
            self._fail(UpstreamTotalTimeout("The upstream's answer took too long."))
        elif now > self._deadline and not self._paused:
            if response.status:
                self._fail(UpstreamIdleTimeout("The upstream fell silent in the middle of its answer."))
            else:
                self._fail(UpstreamFirstByteTimeout("The upstream did not answer in time."))

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open (and TLS is up)."""
        self._transport = cast(asyncio.Transport, transport)
        self._outgoing.attach(self._transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        response = self._response
        if response is None:
            # Nothing was asked: a response to nobody must never meet the next request (HTTP-17).
            self.abort()
            return
        if self._outgoing.is_kept_back:
            # No more was asked than that the connection be free: what comes now answers nothing (HTTP-17).
            self._fail(LostBeforeAnswer("The upstream said something before it was asked."))
            return
        self._received = True
        try:
            if response.status:
                self._deadline = self._loop.time() + self._idle_seconds
                self._body_received(response, data)
            else:
                self._head_received(response, data)
        except UpstreamError as error:
            self._fail(error)

    def eof_received(self) -> bool:
        """The upstream sends no more; for a message that ends with the connection this is its end."""
        response = self._response
        if response is not None and response.status and self._due == UNTIL_CLOSE:
            self._response = None
            response.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone. Whatever was not complete is an error, never an end (HTTP-19)."""
        self.closed = True
        response, self._response = self._response, None
        if response is not None:
            if self._received:
                response.fail(UpstreamTruncated("The upstream's answer ended before it was complete."))
            elif isinstance(exc, ssl.SSLError):
                # TLS 1.3 refuses a client certificate, or the lack of one, only after the handshake.
                response.fail(
                    LostBeforeAnswer(
                        "The upstream refused the TLS connection.",
                        code="upstream_tls_error",
                        detail=f"The upstream refused the TLS connection: {exc.reason or 'no reason given'}.",
                    )
                )
            else:
                response.fail(LostBeforeAnswer("The upstream closed the connection without an answer."))
        self._lost(self)

    # --- Reading ------------------------------------------------------------------------------------------------

    def _head_received(self, response: UpstreamResponse, data: bytes) -> None:
        received: bytes | bytearray = data
        scanned = len(self._buffer)
        if scanned:
            self._buffer += data
            received = self._buffer
        while True:
            end = received.find(_HEAD_END, max(0, scanned - 3) if scanned else 0)
            if end < 0:
                check_partial_head(received, scanned, self._bounds)
                if received is not self._buffer:
                    self._buffer = bytearray(received)
                return
            end += len(_HEAD_END)
            head = parse_response_head(bytes(received[:end]), response.method, self._bounds)
            rest = bytes(received[end:])
            self._buffer.clear()
            if head.status >= 200:
                break
            self._informational += 1
            if self._informational > self._bounds.max_informational:
                raise UpstreamProtocolError("The upstream sent too many interim responses.")
            if not rest:
                return
            received, scanned = rest, 0
        self._begin_body(response, head, rest)

    def _begin_body(self, response: UpstreamResponse, head: ResponseHead, rest: bytes) -> None:
        self._keep_alive = head.keep_alive
        # An answer that came before the request was out leaves a connection in an unknown state (HTTP-13).
        self._early = self._transport.get_write_buffer_size() > 0
        response.head_received(head)
        if head.bodyless:
            # What follows is not relayed, and the connection is not used again (HTTP-18).
            self._keep_alive = self._keep_alive and not rest
            self._end(response)
        elif len(rest) == head.content_length:
            if rest:
                response.feed(rest)
            self._end(response)
        else:
            self._due = head.content_length
            self._decoder = ChunkedDecoder() if head.content_length == CHUNKED else None
            self._deadline = self._loop.time() + self._idle_seconds
            if rest:
                self._body_received(response, rest)

    def _body_received(self, response: UpstreamResponse, data: bytes) -> None:
        if self._decoder is not None:
            try:
                pieces = self._decoder.feed(data)
            except ChunkedError as error:
                raise UpstreamProtocolError(f"The upstream's chunked answer is malformed: {error}.") from error
            if pieces:
                self._deliver(response, pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if self._decoder.complete:
                self._message_ended(response, self._decoder.rest)
        elif self._due == UNTIL_CLOSE:
            self._deliver(response, data)
        else:
            if len(data) < self._due:
                self._due -= len(data)
                self._deliver(response, data)
                return
            if self._due:
                self._deliver(response, data[: self._due])
            self._message_ended(response, data[self._due :])

    def _deliver(self, response: UpstreamResponse, piece: bytes) -> None:
        if response.feed(piece) >= self._bounds.read_ahead_bytes and not self._paused and self.usable:
            self._paused = True
            self._transport.pause_reading()

    def _message_ended(self, response: UpstreamResponse, rest: bytes) -> None:
        if rest:
            raise UpstreamProtocolError("The upstream sent more than one answer to one request.")
        self._end(response)

    def _end(self, response: UpstreamResponse) -> None:
        """The message is complete: give the connection back, or close it."""
        self._response = None
        self._decoder = None
        response.end()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._keep_alive and not self._early and not self.closed:
            self._released(self)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        response = self._response
        self.abort()
        if response is not None:
            response.fail(error)
