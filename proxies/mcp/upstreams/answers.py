"""Answers that the gateway itself makes of a server's messages: an event stream, one JSON message, or only a status."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from proxies.transport.errors import UpstreamError, UpstreamTooLarge, UpstreamTruncated
from proxies.transport.headers import Headers

MAX_WAITING_BYTES: Final = 256 * 1024
"""What a reader may leave unread before the server's next message waits for it."""
MAX_STALL_SECONDS: Final = 60.0
"""How long a server waits for a reader that does not read, before that reader loses its answer."""

SESSION_GONE: Final = 410
"""For the stream of a session that is over, where the gateway itself knows that. A server's 404 to a GET says less: some have
no route for it at all."""

_STREAM: Final = Headers([("content-type", "text/event-stream")])
_NOTHING: Final = Headers()


class StatusAnswer:
    """An answer without a body."""

    headers = _NOTHING

    def __init__(self, status: int) -> None:
        self.status = status

    async def read(self, limit_bytes: int) -> bytes:
        """See `Answer`."""
        return b""

    def __aiter__(self) -> StatusAnswer:
        """See `Answer`."""
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def close(self) -> None:
        """See `Answer`."""


class JSONAnswer(StatusAnswer):
    """An answer that is one message."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        super().__init__(status)
        self.headers = Headers([("content-type", "application/json"), *(headers or [])])
        self._body: bytes | None = body

    async def read(self, limit_bytes: int) -> bytes:
        """See `Answer`."""
        body, self._body = self._body or b"", None
        if len(body) > limit_bytes:
            raise UpstreamTooLarge(f"The upstream's answer is larger than {limit_bytes} bytes.")
        return body

    async def __anext__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise StopAsyncIteration
        return body


class LegacyServer(JSONAnswer):
    """The answer to a modern request for a server that is known to speak legacy versions only."""


class StreamAnswer:
    """An answer that is an event stream, filled while it is read. `on_close` is called once when its reader is done with
    it, with whether it had come to its end."""

    headers = _STREAM
    status = 200

    def __init__(self, on_close: Callable[[bool], None]) -> None:
        self._on_close: Callable[[bool], None] | None = on_close
        self._messages: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._error: UpstreamError | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __repr__(self) -> str:
        return f"<StreamAnswer {len(self._messages)} waiting {'ended' if self._ended else 'open'}>"

    # --- For the server's side ------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether messages can still be put in."""
        return not self._ended and self._on_close is not None

    async def put(self, message: bytes) -> None:
        """Add a message; waits while the reader has too many. No effect once it is over."""
        if not self.open:
            return
        self.put_now(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._room.clear()
            try:
                async with asyncio.timeout(MAX_STALL_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                self.fail(UpstreamTruncated("The client did not read its answer."))

    def put_now(self, message: bytes) -> None:
        """Add a message without waiting; for what is bounded elsewhere."""
        self._messages.append(message)
        self._waiting_bytes += len(message)
        self._changed.set()

    def end(self) -> None:
        """No message will follow."""
        self._ended = True
        self._changed.set()

    def fail(self, error: UpstreamError) -> None:
        """The answer will not become complete; what has arrived can still be read."""
        if not self._ended:
            self._error = error
            self.end()

    # --- For the reader -------------------------------------------------------------------------------------------

    async def begun(self, seconds: float) -> bool:
        """Wait until there is something to read; False when there is nothing yet after so long. Raises UpstreamError where
        there will be nothing."""
        return await self._until(lambda: bool(self._messages) or self._ended, seconds)

    async def ended(self, seconds: float) -> bool:
        """Wait until no message will follow; False when one still may after so long. Raises as `begun`."""
        return await self._until(lambda: self._ended, seconds)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._change()
        except TimeoutError:
            return False
        if not self._messages and self._error is not None:
            raise self._error
        return True

    @property
    def is_single(self) -> bool:
        """Whether the only message is also the last."""
        return self._ended and self._error is None and len(self._messages) == 1

    async def read(self, limit_bytes: int) -> bytes:
        """See `Answer`; nobody reads a stream whole."""
        raise UpstreamTooLarge("A stream cannot be read whole.")

    def __aiter__(self) -> StreamAnswer:
        """See `Answer`."""
        return self

    async def __anext__(self) -> bytes:
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._ended:
                self._close()
                raise StopAsyncIteration
            await self._change()
        # The message is compact JSON: it holds no line end.
        return b"event: message\ndata: %b\n\n" % self.take()

    def close(self) -> None:
        """See `Answer`."""
        self._close()

    # --- Internals ------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """The oldest unread message."""
        message = self._messages.popleft()
        self._waiting_bytes -= len(message)
        if self._waiting_bytes <= MAX_WAITING_BYTES:
            self._room.set()
        return message

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _close(self) -> None:
        on_close, self._on_close = self._on_close, None
        self._room.set()
        if on_close is not None:
            on_close(self._ended)
