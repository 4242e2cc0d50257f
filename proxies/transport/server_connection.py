"""One connection from a client: bytes in, exchanges out, one at a time (HTTP/1.1 keep-alive and bounded pipelining).

States: HEAD (between requests, or a head is arriving) → BODY (the handler runs, the body is arriving) → ANSWER (the
handler runs, the body is complete) → HEAD … → CLOSING (a last answer is being flushed, what still arrives is dropped).
UPGRADED instead of ANSWER: another protocol's reader has taken over, until its handler returns (`take_over`).

No timer is set per request: the listener sweeps its connections and calls `tick`, which compares deadlines.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, cast

from proxies.transport.chunked import ChunkedDecoder, ChunkedError, ChunkedOverhead
from proxies.transport.connection_state import ANSWER, BODY, CLOSED, CLOSING, HEAD, UPGRADED
from proxies.transport.errors import BadBody, BodyError, BodyTimeout, BodyTooLarge, RequestRefused
from proxies.transport.guard import CHUNKED, HEAD_END, RequestHead, check_partial_head, parse_request_head
from proxies.transport.half_close import HalfClose
from proxies.transport.outgoing import Outgoing
from proxies.transport.server_messages import CONTINUE, Receiver, Request, Response, address_of, error_body, refusal

if TYPE_CHECKING:
    from proxies.transport.http1_server import HTTPListener
    from proxies.transport.tls_accept import Handshake

_log = logging.getLogger(__name__)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NORMAL_CLOSE = struct.pack("ii", 0, 0)
_JSON = [("content-type", "application/json")]


class ServerConnection(asyncio.Protocol):
    """Protocol of one accepted socket; belongs to one `HTTPListener`."""

    __slots__ = (
        "_body_due",
        "_bounds",
        "_buffer",
        "_deadline",
        "_decoder",
        "_discarded_bytes",
        "_drain_waiter",
        "_flushed_mark",
        "_half_close",
        "_limits",
        "_listener",
        "_loop",
        "_opened_at",
        "_outgoing",
        "_paused_reading",
        "_peer_ip",
        "_receiver",
        "_replaces",
        "_request",
        "_requests",
        "_response",
        "_running",
        "_scanned",
        "_stall_deadline",
        "_transport",
        "_written",
        "state",
        "task",
    )

    def __init__(
        self, listener: HTTPListener, loop: asyncio.AbstractEventLoop, *, replaces: Handshake | None = None
    ) -> None:
        self._listener = listener
        self._replaces = replaces
        self._loop = loop
        self._limits = listener.limits
        self._bounds = listener.bounds
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # Set by connection_made, before any use.
        self._outgoing = Outgoing(loop)
        self._peer_ip = ""
        self._opened_at = 0.0
        self._deadline = 0.0
        self._buffer = bytearray()
        self._scanned = 0
        self._requests = 0
        self._request: Request | None = None
        self._response: Response | None = None
        self._decoder: ChunkedDecoder | None = None
        self._body_due = 0
        self._discarded_bytes = 0
        self._written = 0
        self._flushed_mark = 0
        self._stall_deadline = 0.0
        self._drain_waiter: asyncio.Future[None] | None = None
        self._paused_reading = False
        self._half_close: HalfClose | None = None
        self._receiver: Receiver | None = None
        self._running = False
        self.state = HEAD
        self.task: asyncio.Task[None] | None = None

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the listener, or refuse when it has as many connections as it may have."""
        self._transport = cast(asyncio.Transport, transport)
        self._outgoing.attach(self._transport)
        self._transport.set_write_buffer_limits(self._bounds.high_water_bytes, self._bounds.low_water_bytes)
        self._peer_ip = address_of(transport.get_extra_info("peername"))
        self._opened_at = now = self._loop.time()
        self._deadline = now + self._limits.header_timeout_seconds
        admitted = self._listener.admit(self, self._replaces)
        self._replaces = None
        if admitted:
            return
        if self._listener.is_flooded:
            self._listener.refused(self._peer_ip, 503, "too_many_connections")
            self.state = CLOSING
            self._transport.abort()
        else:
            self._refuse(RequestRefused(503, "too_many_connections", "The proxy has too many connections."))

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        state = self.state
        if state is HEAD:
            if self._buffer:
                self._buffer += data
                self._head_received(self._buffer)
            else:
                self._head_received(data)
        elif state is BODY:
            self._body_received(data)
        elif state is ANSWER:
            self._pipelined(data)
        elif state is UPGRADED and self._receiver is not None:
            self._receiver.data_received(data)
        else:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._bounds.max_linger_bytes:
                self._transport.abort()

    def eof_received(self) -> bool:
        """The client sends no more. While an answer is pending that may be a half-close or a client that left."""
        if self.state is not ANSWER or self._response is None or self._listener.tls is not None:
            return False
        self._half_close = HalfClose(self._loop, self._transport, self._response, self._bounds.half_close_seconds)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: cancel the handler unless its answer was complete."""
        self.state = CLOSED
        self._buffer.clear()
        if self._half_close is not None:
            self._half_close.stop()
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.cancel()
        if self._request is not None:
            self._request.fail(BadBody("The client closed the connection."))
        if self._receiver is not None:
            self._receiver.connection_lost()
        elif self.task is not None and self._response is not None and not self._response.finished:
            self.task.cancel()
            if not self._running:
                # Cancelled before its first step: the task will never run, so it cannot account for itself.
                self._exchange_ended()
        self._listener.forget(self)

    def pause_writing(self) -> None:
        """The client reads slower than the handler writes."""
        if self._drain_waiter is None:
            self._drain_waiter = self._loop.create_future()

    def resume_writing(self) -> None:
        """The client caught up."""
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- Reading ------------------------------------------------------------------------------------------------

    def _head_received(self, data: bytes | bytearray) -> None:
        """`data` is all that arrived of this head, perhaps with what follows it."""
        end = data.find(HEAD_END, max(0, self._scanned - 3) if self._scanned else 0)
        try:
            if end < 0:
                check_partial_head(data, self._scanned, self._bounds)
                self._keep_partial_head(data)
                return
            end += len(HEAD_END)
            head = parse_request_head(bytes(data[:end]), self._bounds)
        except RequestRefused as refused:
            self._refuse(refused)
            return
        rest = bytes(data[end:])
        self._buffer.clear()
        self._scanned = 0
        self._begin(head, rest)

    def _keep_partial_head(self, data: bytes | bytearray) -> None:
        if not self._scanned and self._requests:
            # The first bytes of a later request: from here on the head's deadline counts, not the idle one.
            self._deadline = self._loop.time() + self._limits.header_timeout_seconds
        self._scanned = len(data)
        if data is not self._buffer:
            self._buffer = bytearray(data)

    def _begin(self, head: RequestHead, rest: bytes) -> None:
        """Start the handler for an accepted head; `rest` is what arrived behind it."""
        self._requests += 1
        listener, limits = self._listener, self._limits
        scheme = "http" if listener.tls is None else "https"
        request = Request(head, self, peer_ip=self._peer_ip, scheme=scheme, max_body_bytes=limits.max_body_bytes)
        response = Response(request, self)
        self._request, self._response = request, response
        listener.in_flight += 1
        if 0 < head.content_length == len(rest) <= limits.max_body_bytes:
            request.feed_whole(rest)
            self.state = ANSWER
        elif request.body_complete:
            self.state = ANSWER
            self._pipelined(rest)
        else:
            self.state = BODY
            self._deadline = self._loop.time() + limits.body_timeout_seconds
            if head.content_length == CHUNKED:
                self._decoder = ChunkedDecoder(max_overhead_bytes=self._bounds.max_chunk_overhead_bytes)
            else:
                self._body_due = head.content_length
            if rest:
                self._body_received(rest)
        self.task = self._loop.create_task(self._exchange(request, response))

    def _body_received(self, data: bytes) -> None:
        request = self._request
        if request is None or request.body_refused:
            self._discard_body(data)
        elif self._decoder is None:
            if len(data) < self._body_due:
                self._body_due -= len(data)
                request.feed(data)
            else:
                request.feed(data[: self._body_due])
                self._body_ended(request, data[self._body_due :])
        else:
            self._chunks_received(request, self._decoder, data)
        if self.state is BODY and not self._paused_reading and not self._may_buffer():
            self._paused_reading = True
            self._transport.pause_reading()

    def _chunks_received(self, request: Request, decoder: ChunkedDecoder, data: bytes) -> None:
        try:
            pieces = decoder.feed(data)
        except ChunkedError as error:
            failure: BodyError = BadBody(f"The chunked body is malformed: {error}.")
            if isinstance(error, ChunkedOverhead):
                failure = BodyTooLarge(f"The chunked body is too large: {error}.")
            self._listener.refused(self._peer_ip, failure.status, "bad_chunk")
            request.fail(failure)
            return
        if pieces:
            request.feed(b"".join(pieces))
        if decoder.complete:
            self._body_ended(request, decoder.rest)

    def _body_ended(self, request: Request, rest: bytes) -> None:
        self._decoder = None
        self.state = ANSWER
        request.end()
        if request.body_refused:
            # It ended beyond the size limit: what follows is not looked at, the answer closes the connection.
            return
        self._pipelined(rest)

    def _may_buffer(self) -> bool:
        """Whether more of the body may be read before the handler has asked for it (it may still refuse the call)."""
        request = self._request
        return request is None or request.body_wanted or request.body_bytes < self._bounds.read_ahead_bytes

    def _discard_body(self, data: bytes) -> None:
        """The body was refused but the client still sends: read a bounded amount so that it can see the answer."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes > self._bounds.max_linger_bytes and not self._paused_reading:
            self._paused_reading = True
            self._transport.pause_reading()

    def _pipelined(self, data: bytes) -> None:
        """Bytes of a later request while this one is not answered."""
        if not data:
            return
        self._buffer += data
        if len(self._buffer) <= self._bounds.max_pipelined_bytes:
            return
        if self._response is not None and self._response.finished:
            # The answer is out and the client rightly sends its next request; the handler is about to return.
            self._paused_reading = True
            self._transport.pause_reading()
        else:
            self._listener.refused(self._peer_ip, 400, "pipeline_overflow")
            self._transport.abort()

    # --- Exchanges ----------------------------------------------------------------------------------------------

    async def _exchange(self, request: Request, response: Response) -> None:
        """Run the handler; whatever it does, the client gets one answer or a visible end."""
        self._running = True
        try:
            await self._listener.handler(request, response)
            if not response.started:
                raise RuntimeError("the handler gave no response")
        except asyncio.CancelledError:
            response.abort()
            self._exchange_ended()
            raise
        except BodyError as error:
            self._answer_failure(response, error.status, error.code, error.message)
        except Exception:
            _log.exception("The handler of %s failed", request.path)
            self._answer_failure(response, 500, "internal_error", "The proxy failed to handle the request.")
        if not response.finished:
            response.abort()
        self._exchange_ended()
        self._next_exchange(request, response)

    def _answer_failure(self, response: Response, status: int, code: str, message: str) -> None:
        if response.started:
            response.abort()
        else:
            response.send(status, _JSON, error_body(code, message))

    def _exchange_ended(self) -> None:
        self._listener.in_flight -= 1
        self._running = False
        self._request = None
        self._response = None
        self.task = None

    def _next_exchange(self, request: Request, response: Response) -> None:
        """Go on with what is buffered, wait for the next request, or close."""
        if self.state >= CLOSING:
            return
        if response.closes or not self.reusable():
            self._close(linger=not request.body_complete or self._receiver is not None)
            return
        self.state = HEAD
        self._deadline = self._loop.time() + self._limits.keepalive_timeout_seconds
        self._resume_reading()
        if self._buffer:
            self._head_received(self._buffer)

    def _refuse(self, refused: RequestRefused) -> None:
        """Answer a request that no handler will see, and close."""
        self._listener.refused(self._peer_ip, refused.status, refused.code)
        self._buffer.clear()
        self.send_bytes(refusal(refused, self._listener.date_line))
        self._close(linger=True)

    # --- For Request and Response -------------------------------------------------------------------------------

    def want_body(self, *, send_continue: bool) -> None:
        """The handler waits for the body."""
        if send_continue:
            self.send_bytes(CONTINUE)
        self._resume_reading()

    def send_bytes(self, data: bytes) -> None:
        """Queue bytes for the client; nothing happens when it is gone."""
        if self.state is not CLOSED:
            self._written += len(data)
            self._outgoing.write(data)

    def take_over(self, receiver: Receiver) -> None:
        """Hand everything that arrives from now on to the reader of another protocol."""
        self._receiver = receiver
        self.state = UPGRADED
        early = bytes(self._buffer)
        self._buffer.clear()
        receiver.data_received(early)

    def hold_reading(self, *, hold: bool) -> None:
        """Stop to read from the client, or go on: how a receiver makes it feel that it is too fast."""
        if not hold:
            self._resume_reading()
        elif not self._paused_reading and self.state < CLOSING:
            self._paused_reading = True
            self._transport.pause_reading()

    async def drained(self) -> None:
        """Wait while more than the high-water mark is unsent. Raises ConnectionResetError when the client is gone."""
        if self.state >= CLOSING:
            raise ConnectionResetError("the client closed the connection")
        if self._drain_waiter is not None:
            # Shielded, because the many calls of an upgraded connection wait for the same moment.
            await asyncio.shield(self._drain_waiter)

    def cut(self, *, reset: bool) -> None:
        """Close without completing the message; with a reset where a plain close would look complete."""
        if self.state is CLOSED:
            return
        if reset:
            self._outgoing.send()
            self.reset_on_close(wanted=True)
            self._transport.abort()
        else:
            self._close(linger=False)

    def reset_on_close(self, *, wanted: bool) -> None:
        """Have any end of the connection be a reset, or end that."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None and self.state is not CLOSED:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE if wanted else _NORMAL_CLOSE)

    def reusable(self) -> bool:
        """Whether another request may follow: not draining, neither too old nor too often used."""
        return (
            not self._listener.draining
            and self._half_close is None
            and self._requests < self._bounds.max_requests_per_connection
            and self._loop.time() - self._opened_at < self._bounds.max_connection_age_seconds
        )

    def date_line(self) -> bytes:
        """The listener's Date field line."""
        return self._listener.date_line

    # --- Time and the end ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Compare the deadlines with the clock; called by the listener's sweep."""
        if self._stalled(now):
            self._transport.abort()
        elif self.state is HEAD and now > self._deadline:
            if self._buffer:
                self._refuse(RequestRefused(408, "header_timeout", "The request head took too long."))
            else:
                self._close(linger=False)
        elif self.state is BODY and self._request is not None:
            received = self._request.body_bytes
            if now > self._deadline + received / self._bounds.min_body_rate:
                self._request.fail(BodyTimeout("The request body took too long."))
        elif self.state is CLOSING and now > self._deadline and not self._transport.get_write_buffer_size():
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close soon unless a request is in flight or arriving (drain); ask an answer without end to come to one.

        A request may be on its way already, and a close that crosses it loses it; so the connection gets a moment, and
        the answer to a request that comes in it closes the connection.
        """
        if self.state is HEAD and not self._buffer:
            self._deadline = min(self._deadline, self._loop.time() + self._bounds.drain_idle_seconds)
        elif self._response is not None and not self._response.finished and self._response.on_drain is not None:
            self._response.on_drain()

    def is_draining(self) -> bool:
        """Whether the listener drains."""
        return self._listener.draining

    def abort(self) -> None:
        """Reset the connection at once."""
        self._transport.abort()

    def _stalled(self, now: float) -> bool:
        """Whether the client takes less than the minimum rate of what waits for it (LIM-05)."""
        unsent = self._transport.get_write_buffer_size()
        if not unsent:
            self._stall_deadline = 0.0
            return False
        flushed = self._written - unsent
        window = self._bounds.write_stall_seconds
        if not self._stall_deadline:
            self._stall_deadline = now + window
            self._flushed_mark = flushed
        elif now > self._stall_deadline:
            if flushed - self._flushed_mark < self._bounds.min_write_rate * window:
                return True
            self._stall_deadline = now + window
            self._flushed_mark = flushed
        return False

    def _resume_reading(self) -> None:
        if self._paused_reading and self.state is not CLOSED:
            self._paused_reading = False
            self._transport.resume_reading()

    def _close(self, *, linger: bool) -> None:
        """Flush and close. With `linger` the client may go on sending for a moment: closing on unread input would
        reset the connection and could destroy the answer on its way (RFC 9112 §9.6)."""
        self.state = CLOSING
        self._deadline = self._loop.time() + self._bounds.linger_seconds
        self._outgoing.send()
        if linger and self._transport.can_write_eof():
            self._resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()
