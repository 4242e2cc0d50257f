"""A call without a connection of its own: one message of a connection that carries many, in the shape of HTTP.

Whatever brings the message, a WebSocket or a POST whose answer travels elsewhere, it is judged, answered and recorded
like the request that a client of plain HTTP would have made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from proxies.transport.guard import RequestHead
from proxies.transport.headers import HOP_BY_HOP, Headers
from proxies.transport.server_messages import Connection, Receiver, Request, Response

_OF_THE_CARRIER: Final = HOP_BY_HOP | {
    "accept",
    "accept-encoding",
    "api-key",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "x-api-key",
    "x-goog-api-key",
}
"""What a carrier's own request says about itself. The credential is replaced by its digest."""

Sink = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a streamed answer, at the pace of the client."""


class CarriedRequest(Request):
    """The request for one message; its body is complete."""

    __slots__ = ("key_digest",)

    def __init__(
        self, carrier: Request, method: str, fields: list[tuple[str, str]], body: bytes = b"", *, key_digest: str
    ) -> None:
        inherited = [
            (name, value)
            for name, value in carrier.headers
            if name not in _OF_THE_CARRIER and not name.startswith(("sec-websocket-", "mcp-"))
        ]
        head = RequestHead(
            method=method,
            target=carrier.path,
            path=carrier.path,
            query="",
            http_version="1.1",
            headers=Headers([*inherited, *fields]),
            host=carrier.host,
            content_length=len(body),
            keep_alive=True,
            expect_continue=False,
        )
        super().__init__(head, _NO_CONNECTION, peer_ip=carrier.peer_ip, scheme=carrier.scheme, max_body_bytes=len(body))
        self.key_digest = key_digest
        """Digest of the key that the carrier was opened with, empty for none; it is looked up anew for every call."""
        if body:
            self.feed(body)
            self.end()


class CarriedResponse(Response):
    """The answer to one message: kept where it is whole, handed to the sink piece by piece where it is a stream."""

    __slots__ = ("aborted", "body", "fields", "sink")

    def __init__(self, request: CarriedRequest, sink: Sink) -> None:
        super().__init__(request, _NO_CONNECTION)
        self.sink = sink
        self.fields = Headers()
        self.body = b""
        self.aborted = False
        """Whether it was cut off."""

    def send(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """See `Response`."""
        self.start(status, headers)
        self.body = body
        self.bytes_sent = len(body)
        self.finished = True

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        """See `Response`."""
        if self.started:
            raise RuntimeError("a request has one response")
        self.started = True
        self.status = status
        self.fields = Headers([(name.lower(), value) for name, value in headers])

    async def write(self, data: bytes) -> None:
        """See `Response`."""
        if not self.started or self.finished:
            raise RuntimeError("write() belongs between start() and finish()")
        self.bytes_sent += len(data)
        await self.sink(data)

    def conclude(self, body: bytes, last: bytes) -> None:
        """See `Response`. To whoever carries the answers this one is whole."""
        self.body = body
        self.finish()

    def finish(self) -> None:
        """See `Response`."""
        self.finished = True

    def abort(self) -> None:
        """See `Response`."""
        if not self.finished:
            self.finished = self.aborted = True

    def end_on_drain(self, end: Callable[[], None]) -> None:
        """Have `end` called by the carrier when it drains."""
        self.on_drain = end


class _NoConnection:
    """Stands for the connection of requests that are whole and answers that go elsewhere."""

    def want_body(self, *, send_continue: bool) -> None:
        """The body is there already."""

    def send_bytes(self, data: bytes) -> None:
        """Nothing is sent from here."""

    async def drained(self) -> None:
        """Nothing waits here."""

    def cut(self, *, reset: bool) -> None:
        """The carrier stays open."""

    def reset_on_close(self, *, wanted: bool) -> None:
        """The carrier closes as it must."""

    def reusable(self) -> bool:
        """The carrier decides."""
        return True

    def is_draining(self) -> bool:
        """The carrier tells by `on_drain`."""
        return False

    def date_line(self) -> bytes:
        """No field is sent."""
        return b""

    def take_over(self, receiver: Receiver) -> None:
        """Only a connection can be upgraded."""
        raise RuntimeError("a carried call cannot be upgraded")

    def hold_reading(self, *, hold: bool) -> None:
        """Nothing is read here."""


_NO_CONNECTION: Final[Connection] = _NoConnection()
