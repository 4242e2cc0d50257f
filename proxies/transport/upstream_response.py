"""An answer that is being received, as the code that asked for it sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxies.transport.content_coding import CodingRefused, decode_body, is_identity
from proxies.transport.errors import UpstreamError, UpstreamProtocolError, UpstreamTooLarge, UpstreamTruncated
from proxies.transport.headers import Headers
from proxies.transport.limits import MAX_PIECES, Bounds
from proxies.transport.response_guard import ResponseHead

_NO_HEADERS = Headers()


class Source(Protocol):
    """What a response needs from the connection that delivers it."""

    def resume(self) -> None:
        """The caller has consumed: read on."""

    def abort(self) -> None:
        """Nobody wants the rest."""


class UpstreamResponse:
    """An answer being received: `await read(limit)` for all of it, or `async for chunk in response`.

    One that is not read to its end must be closed with `close()`.
    """

    __slots__ = (
        "_bounds",
        "_buffered_bytes",
        "_connection",
        "_error",
        "_loop",
        "_pieces",
        "_waiter",
        "complete",
        "headers",
        "method",
        "reason",
        "status",
    )

    def __init__(self, method: str, bounds: Bounds) -> None:
        self.method = method
        self.status = 0
        self.reason = ""
        self.headers = _NO_HEADERS
        self.complete = False
        """Whether the whole message has been received."""
        self._bounds = bounds
        self._connection: Source | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # --- For callers --------------------------------------------------------------------------------------------

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, with a content coding undone. Raises UpstreamTooLarge and the other UpstreamErrors."""
        if not self.complete and int(self.headers.get("content-length") or 0) > limit_bytes:
            self._abandon()
            raise _too_large(limit_bytes)
        if self.complete and len(self._pieces) == 1:
            return self._decoded(self._take()[0], limit_bytes)
        parts: list[bytes] = []
        joined = bytearray()
        size = 0
        while True:
            if self._pieces:
                size += self._buffered_bytes
                parts += self._take()
                if len(parts) > MAX_PIECES:
                    joined += b"".join(parts)
                    parts.clear()
            if size > limit_bytes:
                self._abandon()
                raise _too_large(limit_bytes)
            if self.complete:
                break
            await self._more()
        return self._decoded(parts[0] if len(parts) == 1 and not joined else b"".join((joined, *parts)), limit_bytes)

    def _decoded(self, body: bytes, limit_bytes: int) -> bytes:
        """The body with a content coding undone."""
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        coding = self.headers.get("content-encoding")
        if coding is None or not body:
            return body
        try:
            return decode_body(body, coding, max_bytes=limit_bytes)
        except CodingRefused as refused:
            kind = UpstreamTooLarge if refused.too_large else UpstreamProtocolError
            raise kind("The upstream's content coding cannot be decoded.") from refused

    def __aiter__(self) -> UpstreamResponse:
        """Pieces of the body as they come. An encoded body cannot be inspected piece by piece and is refused."""
        if not is_identity(self.headers.get("content-encoding")):
            self._abandon()
            raise UpstreamProtocolError("The upstream encoded a stream although it was asked not to.")
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.complete:
                raise StopAsyncIteration
            await self._more()
        if self._buffered_bytes <= self._bounds.piece_bytes:
            pieces = self._take()
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._take_first()

    def close(self) -> None:
        """Give up what has not been received: the connection is closed. No effect on a complete response."""
        self._abandon()

    def __repr__(self) -> str:
        return f"<UpstreamResponse {self.status}>"

    # --- For the connection -------------------------------------------------------------------------------------

    def attach(self, connection: Source, loop: asyncio.AbstractEventLoop) -> None:
        """The connection that will deliver this response."""
        self._connection = connection
        self._loop = loop

    def head_received(self, head: ResponseHead) -> None:
        """The final response head."""
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        if self._waiter is not None:
            self._wake(self._waiter)

    def feed(self, piece: bytes) -> int:
        """A piece of the body; gives the number of bytes that wait for the caller."""
        self._pieces.append(piece)
        self._buffered_bytes += len(piece)
        if self._waiter is not None:
            self._wake(self._waiter)
        return self._buffered_bytes

    def end(self) -> None:
        """The message is complete; the connection is no longer ours."""
        self.complete = True
        self._connection = None
        if self._waiter is not None:
            self._wake(self._waiter)

    def fail(self, error: UpstreamError) -> None:
        """The message will not become complete. What was received before can still be read."""
        self._error = error
        self._connection = None
        if self._waiter is not None:
            self._wake(self._waiter)

    async def wait_head(self) -> None:
        """Return when the final head is there; raises what went wrong instead."""
        while not self.status:
            await self._more()

    # --- Internals ----------------------------------------------------------------------------------------------

    def _take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        self._consumed(self._buffered_bytes)
        return pieces

    def _take_first(self) -> bytes:
        """At most `piece_bytes` of what is buffered: as many pieces as fit, or the first part of a long one."""
        limit = self._bounds.piece_bytes
        size = count = 0
        while size + len(self._pieces[count]) <= limit:
            size += len(self._pieces[count])
            count += 1
        if count:
            first = b"".join(self._pieces[:count])
            del self._pieces[:count]
        else:
            first, self._pieces[0] = self._pieces[0][:limit], self._pieces[0][limit:]
        self._consumed(len(first))
        return first

    def _consumed(self, size: int) -> None:
        self._buffered_bytes -= size
        if self._connection is not None and self._buffered_bytes < self._bounds.read_ahead_bytes:
            self._connection.resume()

    async def _more(self) -> None:
        """Wait for the next event. A caller that is cancelled here leaves for good: the upstream is told at once."""
        if self._error is not None:
            raise self._error
        self._waiter = waiter = (self._loop or asyncio.get_running_loop()).create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self._abandon()
            raise
        finally:
            self._waiter = None

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        self._waiter = None
        if not waiter.done():
            waiter.set_result(None)

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if not self.complete and self._error is None:
            self._error = UpstreamTruncated("The response was given up.")


def _too_large(limit_bytes: int) -> UpstreamTooLarge:
    return UpstreamTooLarge(f"The upstream's answer is larger than {limit_bytes} bytes.")
