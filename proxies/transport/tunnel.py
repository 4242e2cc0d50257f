"""A tunnel through an HTTP proxy: CONNECT and the answer to it (RFC 9110 §9.3.6). TLS with the target comes after it."""

from __future__ import annotations

import asyncio
from typing import cast

from proxies.transport.errors import UpstreamProtocolError, UpstreamProxyError, UpstreamProxyUnreachable
from proxies.transport.headers import encode_fields
from proxies.transport.limits import Bounds
from proxies.transport.response_guard import check_partial_head, parse_response_head

_HEAD_END = b"\r\n\r\n"


async def open_tunnel(
    address: str, port: int, authority: str, fields: list[tuple[str, str]], bounds: Bounds
) -> asyncio.Transport:
    """Connect to the proxy at this address and have it connect to `authority` (`host:port`). Waits as long as the
    caller lets it. Raises OSError when the proxy does not accept, UpstreamError when it does not agree."""
    loop = asyncio.get_running_loop()
    request = f"CONNECT {authority} HTTP/1.1\r\n".encode("ascii") + encode_fields([("host", authority), *fields])
    transport, tunnel = await loop.create_connection(lambda: _Tunnel(loop, bounds), address, port)
    try:
        transport.write(request + b"\r\n")
        await tunnel.opened
    except BaseException:
        transport.abort()
        raise
    return transport


class _Tunnel(asyncio.Protocol):
    """Reads the proxy's answer. `opened` is done when the next byte either way belongs to the target."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._bounds = bounds
        self._buffer = bytearray()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # Set by connection_made, before any use.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        scanned = len(self._buffer)
        self._buffer += data
        try:
            if self._answered(scanned):
                # What comes now is for the TLS that replaces this protocol.
                self._transport.pause_reading()
                self.opened.set_result(None)
        except UpstreamProtocolError as error:
            self._fail(UpstreamProxyError("The proxy on the way to the upstream does not answer as a proxy."), error)
        except UpstreamProxyError as error:
            self._fail(error, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(
            UpstreamProxyUnreachable("The proxy on the way to the upstream closed the connection without an answer."),
            exc,
        )

    def _answered(self, scanned: int) -> bool:
        """Whether the final answer is there and opens the tunnel; raises when it does not."""
        informational = 0
        while (end := self._buffer.find(_HEAD_END, max(0, scanned - 3))) >= 0:
            end += len(_HEAD_END)
            status = parse_response_head(bytes(self._buffer[:end]), "CONNECT", self._bounds).status
            del self._buffer[:end]
            scanned = 0
            if status >= 200:
                self._check(status)
                return True
            informational += 1
            if informational > self._bounds.max_informational:
                raise UpstreamProtocolError("The proxy sent too many interim responses.")
        check_partial_head(self._buffer, scanned, self._bounds)
        return False

    def _check(self, status: int) -> None:
        if status >= 300:
            raise UpstreamProxyError.from_status(status)
        if self._buffer:
            # The target of a TLS client speaks second: these bytes are not the target's.
            raise UpstreamProtocolError("The proxy sent more than its answer.")

    def _fail(self, error: UpstreamProxyError, cause: BaseException | None) -> None:
        if not self.opened.done():
            error.__cause__ = cause
            self.opened.set_exception(error)
