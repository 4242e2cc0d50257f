"""The two ends of one exchange as a handler sees them: the `Request` that came in and the `Response` to give."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from proxies.transport.errors import BodyError, BodyTooLarge, RequestRefused
from proxies.transport.guard import RequestHead
from proxies.transport.headers import encode_fields
from proxies.transport.limits import MAX_PIECES

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})
# Framing and connection fields are the server's own business: a handler's are dropped.
_SERVER_FIELDS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date"})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_MAX_PROBES = 8
"""Leading zeros of one chunk size: readers allow sixteen digits or more, and a size of ours takes less than eight."""


class Receiver(Protocol):
    """Reads what follows an upgrade. It is told once that the connection is gone, and its handler ends by itself then."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""

    def connection_lost(self) -> None:
        """The connection is gone."""


class Connection(Protocol):
    """What Request and Response need from the connection that carries them."""

    def want_body(self, *, send_continue: bool) -> None:
        """The handler waits for the body: read on, whatever is buffered already."""

    def send_bytes(self, data: bytes) -> None:
        """Queue bytes for the client."""

    async def drained(self) -> None:
        """Return when the client has taken enough of what was queued."""

    def cut(self, *, reset: bool) -> None:
        """End the connection in a way that a client cannot take for the end of a message."""

    def reset_on_close(self, *, wanted: bool) -> None:
        """Have any end of the connection be a reset, or end that."""

    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""

    def is_draining(self) -> bool:
        """Whether the listener has stopped accepting and waits for what is in flight."""

    def date_line(self) -> bytes:
        """The current Date field line."""

    def take_over(self, receiver: Receiver) -> None:
        """Hand everything that arrives from now on to the reader of another protocol."""

    def hold_reading(self, *, hold: bool) -> None:
        """Stop to read from the client, or go on."""


class Request:
    """One accepted request. The head is complete; `await body()` gives the whole body."""

    __slots__ = (
        "_connection",
        "_error",
        "_joined",
        "_max_body_bytes",
        "_pieces",
        "_waiter",
        "body_bytes",
        "body_complete",
        "content_length",
        "expect_continue",
        "headers",
        "host",
        "http_version",
        "keep_alive",
        "method",
        "path",
        "peer_ip",
        "query",
        "received_at",
        "scheme",
        "target",
    )

    def __init__(
        self, head: RequestHead, connection: Connection, *, peer_ip: str, scheme: str, max_body_bytes: int
    ) -> None:
        self.method = head.method
        self.target = head.target
        """Origin-form, byte for byte as received."""
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.http_version = head.http_version
        self.host = head.host
        self.content_length = head.content_length
        """Declared bytes; `guard.CHUNKED` (-1) when the length is not known in advance."""
        self.keep_alive = head.keep_alive
        self.expect_continue = head.expect_continue
        self.peer_ip = peer_ip
        self.scheme = scheme
        self.received_at = time.perf_counter()
        self.body_bytes = 0
        """Body bytes received so far."""
        self._connection = connection
        self._max_body_bytes = max_body_bytes
        self._pieces: list[bytes] = []
        self._joined = bytearray()
        self.body_complete = head.content_length == 0
        """Whether the whole body has been received, so that the next request begins behind it."""
        self._waiter: asyncio.Future[None] | None = None
        self._error: BodyError | None = None
        if head.content_length > max_body_bytes:
            self._error = BodyTooLarge(_too_large(max_body_bytes))

    async def body(self) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyTimeout or BadBody; a second call gives the same."""
        if not self.body_complete and self._error is None:
            self._connection.want_body(send_continue=self.expect_continue and not self.body_bytes)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        if len(self._pieces) != 1 or self._joined:
            self._pieces = [b"".join((self._joined, *self._pieces))]
            self._joined = bytearray()
        return self._pieces[0]

    @property
    def body_refused(self) -> bool:
        """Whether no more of the body is wanted."""
        return self._error is not None

    @property
    def body_wanted(self) -> bool:
        """Whether the handler waits for the body."""
        return self._waiter is not None

    def feed_whole(self, body: bytes) -> None:
        """The whole body from the connection, in one piece and not larger than it may be."""
        self.body_bytes = len(body)
        self._pieces.append(body)
        self.body_complete = True

    def feed(self, piece: bytes) -> None:
        """Body bytes from the connection."""
        self.body_bytes += len(piece)
        if self.body_bytes > self._max_body_bytes:
            self.fail(BodyTooLarge(_too_large(self._max_body_bytes)))
        elif self._error is None:
            self._pieces.append(piece)
            if len(self._pieces) > MAX_PIECES:
                self._joined += b"".join(self._pieces)
                self._pieces.clear()

    def end(self) -> None:
        """The connection has fed the whole body."""
        if self._error is None:
            self.body_complete = True
            self._wake()

    def fail(self, error: BodyError) -> None:
        """The body will not become complete."""
        if self._error is None:
            self._error = error
            self._pieces.clear()
            self._joined.clear()
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


class Response:
    """The answer to one request: `send` a complete one, or `start`, `write` … and `finish`."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_probes",
        "_request",
        "_silent",
        "bytes_sent",
        "closes",
        "finished",
        "on_drain",
        "started",
        "status",
    )

    def __init__(self, request: Request, connection: Connection) -> None:
        self.started = False
        self.finished = False
        self.status = 0
        self.bytes_sent = 0
        """Body bytes handed to the connection, without framing."""
        self.closes = False
        """Whether this answer is the last on its connection; known once it has started."""
        self.on_drain: Callable[[], None] | None = None
        """Called by the connection when the listener drains; see `end_on_drain`."""
        self._request = request
        self._connection = connection
        self._chunked = False
        self._probes = 0
        self._silent = request.method == "HEAD"

    def send(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """A complete response with its Content-Length."""
        length = b"content-length: %d\r\n" % len(body)
        if status in _BODYLESS:
            self._silent = True
            length = b""
        if self._silent:
            body = b""
        message = self._head(status, headers, length, body)
        self.bytes_sent = len(body)
        self.finished = True
        self._connection.send_bytes(message)

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Begin a response of unknown length: chunked, or ended by the close of an HTTP/1.0 connection."""
        self._silent = self._silent or status in _BODYLESS
        self._chunked = self._request.http_version == "1.1" and not self._silent
        self._connection.send_bytes(
            self._head(status, headers, b"transfer-encoding: chunked\r\n" if self._chunked else b"")
        )

    async def write(self, data: bytes) -> None:
        """Send a piece of the body. Waits while the client is slower than the bound of unsent bytes allows."""
        if not self.started or self.finished:
            raise RuntimeError("write() belongs between start() and finish()")
        if not data or self._silent:
            return
        if self._probes:
            self._end_probes()
        self.bytes_sent += len(data)
        self._connection.send_bytes(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._connection.drained()

    def conclude(self, body: bytes, last: bytes) -> None:
        """End a stream that had begun before its answer was there: `body` is the answer, `last` is what it looks like on the
        stream. Like `send` it does not wait for the client."""
        if last and not self._silent:
            if self._probes:
                self._end_probes()
            self.bytes_sent += len(last)
            self._connection.send_bytes(b"%x\r\n%b\r\n" % (len(last), last) if self._chunked else last)
        self.finish()

    def finish(self) -> None:
        """The streamed body is complete."""
        if not self.started or self.finished:
            raise RuntimeError("finish() belongs after start(), once")
        self.finished = True
        if self._probes:
            self._end_probes()
        if self._chunked:
            self._connection.send_bytes(LAST_CHUNK)

    def switch_protocols(self, head: bytes, receiver: Receiver) -> Connection:
        """Answer 101 with this complete head. The connection speaks the receiver's protocol until `finish`, then closes."""
        if self.started:
            raise RuntimeError("a request has one response")
        self.started = self.closes = True
        self.status = 101
        self._connection.send_bytes(head)
        self._connection.take_over(receiver)
        return self._connection

    def probe(self) -> bool:
        """Send bytes that a waiting client skips and a client that left answers with a reset; False when there are none.

        Before the head that is an interim response, which a client may always discard (RFC 9110 §15.2.1), later a
        zero in front of the size of the next chunk (RFC 9112 §7.1). HTTP/1.0 has nothing of the kind.
        """
        if not self.started and self._request.http_version == "1.1":
            self._connection.send_bytes(CONTINUE)
            return True
        if not self._chunked or self._probes == _MAX_PROBES:
            return False
        self._probes += 1
        # A lenient client could take a zero at the end of the stream for the last chunk.
        self._connection.reset_on_close(wanted=True)
        self._connection.send_bytes(b"0")
        return True

    def _end_probes(self) -> None:
        self._probes = 0
        self._connection.reset_on_close(wanted=False)

    def end_on_drain(self, end: Callable[[], None]) -> None:
        """Have `end` called when the listener drains, now if it does already: for a stream that has no end of its own,
        which would hold up the drain until its deadline."""
        self.on_drain = end
        if self._connection.is_draining():
            end()

    def abort(self) -> None:
        """End the response so that the client sees it is incomplete: no last chunk, or a reset for HTTP/1.0."""
        if not self.finished:
            self.finished = True
            self.closes = True
            self._connection.cut(reset=not self._chunked or self._probes > 0)

    def _head(self, status: int, headers: list[tuple[str, str]], framing: bytes, body: bytes = b"") -> bytes:
        """The head, with what follows it at once."""
        if self.started:
            raise RuntimeError("a request has one response")
        fields = encode_fields(headers, without=_SERVER_FIELDS)
        self.started = True
        self.status = status
        request, carrier = self._request, self._connection
        self.closes = (
            not request.keep_alive
            or not request.body_complete
            or (not framing and not self._silent)  # It streams until the close.
            or not carrier.reusable()
        )
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        connection = b""
        if self.closes:
            connection = b"connection: close\r\n"
        elif request.http_version == "1.0":
            connection = b"connection: keep-alive\r\n"
        return b"".join((line, carrier.date_line(), fields, framing, connection, b"\r\n", body))


def refusal(refused: RequestRefused, date_line: bytes) -> bytes:
    """A complete final response in which the server itself refuses a request; the connection closes after it."""
    body = error_body(refused.code, refused.message)
    line = _STATUS_LINES[refused.status]
    allow = b"allow: %s\r\n" % refused.allow.encode() if refused.allow else b""
    framing = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return b"".join((line, date_line, allow, framing, body))


def address_of(peername: object) -> str:
    """The address of a peer as text, an IPv4-mapped one in its IPv4 form; empty for a Unix socket."""
    if not isinstance(peername, tuple):
        return ""
    return str(peername[0]).removeprefix("::ffff:")


def error_body(code: str, message: str) -> bytes:
    """The JSON error of the transport layer, in the shape that OpenAI clients read."""
    kind = "server_error" if code in _SERVER_CODES else "invalid_request_error"
    remediation = (
        "Send the request again later." if kind == "server_error" else "Correct the request and send it again."
    )
    error = {"message": message, "type": kind, "param": None, "code": code, "remediation": remediation}
    return json.dumps({"error": error}, separators=(",", ":")).encode()


_SERVER_CODES = frozenset({"internal_error", "too_many_connections"})


def _too_large(max_body_bytes: int) -> str:
    return f"The request body is larger than {max_body_bytes} bytes."


__all__ = ["LAST_CHUNK", "Connection", "Receiver", "Request", "Response", "address_of", "error_body", "refusal"]
