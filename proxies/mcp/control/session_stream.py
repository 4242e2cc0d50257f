"""The gateway's own GET stream of a legacy session: a server that changes its tools is heard, client or not (L-08).

A session has one such stream at most, because servers refuse a second one. A client that opens its stream is attached to
this one; when it leaves the gateway goes on listening. While nobody is attached, changes are noted, pings are answered
and everything else ends here, as it would have without a stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.drain import Answer
from proxies.mcp.eras import VERSION_HEADER
from proxies.mcp.messages import Message, MessageRefused, parse_message, result_response
from proxies.mcp.sessions import Session
from proxies.mcp.upstream import MAX_EVENT_BYTES, SESSION_HEADER, is_stream, own_headers, send_to
from proxies.mcp.upstreams.answers import SESSION_GONE
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import UpstreamError, UpstreamIdleTimeout
from proxies.transport.headers import Headers
from proxies.transport.sse import SSEParser, SSETooLarge

logger = logging.getLogger(__name__)

ATTACH_SECONDS: Final = 10.0
"""What a client waits for a stream that is being opened."""
FIRST_PAUSE_SECONDS: Final = 1.0
SHORT_SECONDS: Final = 10.0
"""A stream that ends so soon is followed by a longer pause than the one before."""
MAX_PAUSE_SECONDS: Final = 60.0
MAX_FAILURES: Final = 8
"""After so many attempts in a row the session is left without a stream of ours."""
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


def listen(session: Session) -> None:
    """The client has opened its session: keep an ear on the server from now on, if anything of it is controlled."""
    controlled = session.controlled
    if controlled is not None and controlled.control is not None and session.own_stream is None:
        session.own_stream = SessionStream(controlled, session)


class SessionStream:
    """One session's stream (`sessions.OwnStream`)."""

    def __init__(self, controlled: ControlledServer, session: Session) -> None:
        self._controlled = controlled
        self._version = session.version
        self._upstream_id = session.upstream_id
        self._ready = asyncio.Event()
        """Set while the stream is open, and when it is clear that there is none."""
        self._wanted = asyncio.Event()
        self._response: Answer | None = None
        self._client: Attachment | None = None
        self._parser = SSEParser(MAX_EVENT_BYTES)
        self._tail = b""
        """What was received since the last whole event."""
        self._task = controlled.spawn(self._listen())

    def __repr__(self) -> str:
        return f"<SessionStream {'attached' if self._client else 'listening' if self._response else 'closed'}>"

    def stop(self) -> None:
        """The session is over."""
        self._task.cancel()

    async def attach(self) -> Answer | None:
        """The stream for the session's client, from the next event on; None where it must ask for one of its own."""
        self._wanted.set()
        try:
            async with asyncio.timeout(ATTACH_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            return None
        if self._response is None:
            return None
        if self._client is not None:
            # Most probably the same client, whose departure has not been noticed yet: each message goes on one stream.
            self._client.end(None)
        self._client = Attachment(self._response, self._tail, self._detach)
        return self._client

    def _detach(self, client: Attachment) -> None:
        if self._client is not client:
            return
        self._client = None
        self._parser = SSEParser(MAX_EVENT_BYTES)
        self._parser.feed(self._tail)

    async def _listen(self) -> None:
        failures = short = 0
        try:
            while failures < MAX_FAILURES and self._controlled.control is not None:
                opened_at = time.monotonic()
                try:
                    if not await self._listen_once():
                        return
                    failures = 0
                except UpstreamIdleTimeout:
                    continue
                except (UpstreamError, SSETooLarge) as error:
                    failures += 1
                    logger.debug("an own stream failed: %s", type(error).__name__)
                # A server that closes every stream at once is not asked every second.
                short = min(short + 1, MAX_FAILURES) if time.monotonic() - opened_at < SHORT_SECONDS else 0
                await self._pause(min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**short))
        finally:
            self._ready.set()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, unless a client wants the stream now."""
        self._wanted.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _listen_once(self) -> bool:
        """Listen until the server closes the stream; False where it offers none, or has lost the session."""
        response = await self._send("GET", endless=True)
        try:
            if response.status in (404, 405, SESSION_GONE) or (response.status == 200 and not is_stream(response)):
                return False
            if response.status != 200:
                raise UpstreamError(f"The upstream answered with HTTP {response.status}.")
            self._response, self._tail = response, b""
            self._parser = SSEParser(MAX_EVENT_BYTES)
            self._ready.set()
            async for chunk in response:
                await self._take(chunk)
            return True
        except UpstreamError as error:
            if self._client is not None:
                self._client.end(error)
            raise
        finally:
            self._response = None
            self._ready.clear()
            if self._client is not None:
                self._client.end(None)
            response.close()

    async def _send(self, method: str, body: bytes = b"", *, endless: bool = False) -> Answer:
        """One request inside the session, in the name of the gateway; raises `UpstreamError`."""
        runtime = self._controlled.runtime
        assert runtime is not None  # There is a session, so there was a snapshot.
        headers = [*own_headers(runtime), (VERSION_HEADER, self._version)]
        if self._upstream_id is not None:
            headers.append((SESSION_HEADER, self._upstream_id))
        return await send_to(runtime, method, headers, body, endless=endless)

    async def _take(self, chunk: bytes) -> None:
        data = self._tail + chunk
        end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in _BLANK_LINES)
        self._tail = data[end:]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise SSETooLarge("an event is too large")
        if self._client is not None:
            await self._client.put(chunk)
            return
        for event in self._parser.feed(chunk):
            if event.data and event.event in (None, "", "message"):
                await self._handle(event.data)

    async def _handle(self, data: str) -> None:
        try:
            message = await off_loop.sized(len(data), partial(_read, data))
        except (JSONRefused, MessageRefused):
            return
        if message.kind == "notification":
            self._controlled.note_change(message.method)
        elif message.kind == "request" and message.method == "ping" and message.id is not None:
            answer = await self._send("POST", dump(result_response(message.id, {}).body()))
            answer.close()


def _read(data: str) -> Message:
    return parse_message(parse(data.encode("utf-8", "surrogatepass")))


class Attachment:
    """The stream as its client reads it (`Answer`)."""

    def __init__(self, response: Answer, first: bytes, detach: Callable[[Attachment], None]) -> None:
        self._response = response
        self._chunks: asyncio.Queue[bytes | UpstreamError | None] = asyncio.Queue(maxsize=8)
        self._detach = detach
        self._open = True
        if first:
            self._chunks.put_nowait(first)

    @property
    def status(self) -> int:
        """See `Answer`."""
        return self._response.status

    @property
    def headers(self) -> Headers:
        """See `Answer`."""
        return self._response.headers

    async def read(self, limit_bytes: int) -> bytes:
        """See `Answer`: a stream has no whole body."""
        raise UpstreamError("The upstream's answer is a stream.")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """See `Answer`."""
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, UpstreamError):
                raise chunk
            yield chunk

    def close(self) -> None:
        """The client has left: what was meant for it and not read is lost, as on any stream."""
        if self._open:
            self._open = False
            self._detach(self)
            while not self._chunks.empty():
                self._chunks.get_nowait()

    async def put(self, chunk: bytes) -> None:
        """A piece for the client, at its pace."""
        if self._open:
            await self._chunks.put(chunk)

    def end(self, error: UpstreamError | None) -> None:
        """The server's stream is over."""
        if self._open:
            while self._chunks.full():
                self._chunks.get_nowait()
            self._chunks.put_nowait(error)
