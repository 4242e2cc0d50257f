"""Servers that speak the HTTP+SSE transport of 2024-11-05: one stream that carries everything, and an address for POSTs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urljoin, urlsplit

from proxies.egress_policy import BadTarget, Origin, parse_target
from proxies.mcp.upstreams.interface import ChannelEnded
from proxies.transport.errors import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTooLarge,
    UpstreamTruncated,
)
from proxies.transport.pool import UpstreamPool, UpstreamResponse
from proxies.transport.sse import SSEEvent, SSEParser, SSETooLarge

logger = logging.getLogger(__name__)

STREAM_IDLE_SECONDS: Final = 3600.0
"""Such a server may be silent for as long as its client asks nothing."""
MAX_EVENT_BYTES: Final = 10 * 1024 * 1024
MAX_EVENTS_BEFORE_ENDPOINT: Final = 10
MAX_ENDPOINT_CHARACTERS: Final = 4096
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 100
MAX_FIELD_CHARACTERS: Final = 1_000


class SSEServer:
    """One server; each channel is a stream of its own. `headers` go with every request."""

    def __init__(self, pool: UpstreamPool, target: Origin, headers: list[tuple[str, str]]) -> None:
        self._pool = pool
        self._target = target
        self._headers = headers

    def tls_key(self) -> str:
        """Fingerprint of the key that the server proved last (`Upstream.tls_key_sha256`)."""
        return self._pool.tls_key_sha256

    async def connect(self) -> SSEChannel:
        """Open the stream and learn where messages go (`interface.Connect`)."""
        path = self._target.base_path or "/"
        response = await self._pool.request(
            "GET", path, [*self._headers, ("accept", "text/event-stream")], b"", endless=True
        )
        try:
            if response.status != 200:
                raise _status_error(response)
            if (response.headers.get("content-type") or "").partition(";")[0].strip().lower() != "text/event-stream":
                raise UpstreamProtocolError("The upstream's answer is not an event stream.")
            channel = SSEChannel(self._pool, response, self._headers)
            channel.endpoint = endpoint_of(await channel.endpoint_event(), self._target)
        except BaseException:
            response.close()
            raise
        return channel

    async def aclose(self) -> None:
        """Let go of the connections that nobody uses."""
        await self._pool.aclose()


class SSEChannel:
    """One stream as a `Channel`."""

    def __init__(self, pool: UpstreamPool, response: UpstreamResponse, headers: list[tuple[str, str]]) -> None:
        self.endpoint = ""
        self._pool = pool
        self._response = response
        self._headers = headers
        self._parser = SSEParser(MAX_EVENT_BYTES)
        self._pieces: AsyncIterator[bytes] = aiter(response)
        self._events: deque[SSEEvent] = deque()

    @property
    def opened_with(self) -> dict[str, str]:
        """The fields with which the server opened the stream."""
        return shown_fields(self._response)

    async def endpoint_event(self) -> str:
        """What the first event says; raises UpstreamError."""
        for _ in range(MAX_EVENTS_BEFORE_ENDPOINT):
            event = await self._next()
            if event.event == "endpoint":
                return event.data
        raise UpstreamProtocolError("The upstream did not say where messages go.")

    async def send(self, message: bytes) -> None:
        """See `Channel`."""
        headers = [*self._headers, ("content-type", "application/json"), ("accept", "application/json")]
        response = await self._pool.request("POST", self.endpoint, headers, message)
        try:
            if not 200 <= response.status < 300:
                raise _status_error(response)
            await response.read(MAX_ANSWER_BYTES)  # So that the connection can be used again.
        finally:
            response.close()

    async def receive(self) -> bytes:
        """See `Channel`."""
        try:
            while True:
                event = await self._next()
                if event.event in (None, "", "message") and event.data:
                    return event.data.encode("utf-8", "surrogatepass")
        except UpstreamError as error:
            raise ChannelEnded(error) from error

    async def aclose(self) -> None:
        """See `Channel`."""
        self._response.close()

    async def _next(self) -> SSEEvent:
        while not self._events:
            try:
                self._events.extend(self._parser.feed(await anext(self._pieces)))
            except StopAsyncIteration:
                raise UpstreamTruncated("The upstream closed its stream.") from None
            except SSETooLarge as error:
                raise UpstreamTooLarge("The upstream sent an event that is too large.") from error
        return self._events.popleft()


def endpoint_of(data: str, target: Origin) -> str:
    """Path and query of the address that an `endpoint` event names; raises UpstreamError for one of another origin, to which
    messages and credentials must not go (S-02)."""
    base = f"{target.scheme}://{target.authority}{target.base_path or '/'}"
    refused = UpstreamProtocolError(
        "The upstream names an address for messages that is not its own.", code="upstream_endpoint_refused"
    )
    if not 0 < len(data) <= MAX_ENDPOINT_CHARACTERS or not all("!" <= character <= "~" for character in data):
        raise refused
    try:
        parts = urlsplit(urljoin(base, data))
        named = parse_target(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, BadTarget):
        raise refused from None
    if (named.scheme, named.host, named.port) != (target.scheme, target.host, target.port):
        logger.warning("%s names the foreign address %s://%s for messages", base, named.scheme, named.authority)
        raise refused
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _status_error(response: UpstreamResponse) -> UpstreamError:
    message = f"The upstream answered with HTTP {response.status}."
    return UpstreamRefused(message, response.status, shown_fields(response))


def shown_fields(response: UpstreamResponse) -> dict[str, str]:
    """The fields of an answer, bounded."""
    return {name: value[:MAX_FIELD_CHARACTERS] for name, value in list(response.headers.items())[:MAX_FIELDS]}
