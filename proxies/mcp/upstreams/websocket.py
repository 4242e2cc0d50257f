"""Servers that are reached by WebSocket: sub-protocol `mcp`, one JSON-RPC message in each text message (W-01)."""

from __future__ import annotations

import asyncio
from typing import Final

from proxies.contract import Limits
from proxies.egress_policy import Origin
from proxies.mcp.upstreams.interface import ChannelEnded
from proxies.transport.dialler import Dialler
from proxies.transport.errors import UpstreamConnectTimeout, UpstreamError
from proxies.transport.websocket_client import WebSocketConnection

SUBPROTOCOL: Final = "mcp"
MAX_MESSAGE_BYTES: Final = 10 * 1024 * 1024


class WebSocketServer:
    """One server; `headers` go with every handshake, `authority` in place of the target's own."""

    def __init__(
        self, dialler: Dialler, target: Origin, headers: list[tuple[str, str]], limits: Limits, *, authority: str = ""
    ) -> None:
        self._dialler = dialler
        self._url = f"{'wss' if target.is_tls else 'ws'}://{authority or target.authority}{target.base_path or '/'}"
        self._headers = headers
        self._limits = limits

    def tls_key(self) -> str:
        """Fingerprint of the key that the server proved last (`Upstream.tls_key_sha256`)."""
        return self._dialler.tls_key_sha256

    async def connect(self) -> WebSocketChannel:
        """Open a WebSocket (`interface.Connect`)."""
        try:
            async with asyncio.timeout(self._limits.connect_timeout_seconds):
                connection = await self._dialler.dial(self._connection, self._limits.connect_timeout_seconds)
        except TimeoutError as error:
            raise UpstreamConnectTimeout("The connection to the upstream took too long.") from error
        try:
            await connection.open(self._limits.first_byte_timeout_seconds)
        except BaseException:
            connection.abort()
            raise
        return WebSocketChannel(connection)

    def _connection(self) -> WebSocketConnection:
        return WebSocketConnection(self._url, SUBPROTOCOL, self._headers, max_message_bytes=MAX_MESSAGE_BYTES)


class WebSocketChannel:
    """One WebSocket as a `Channel`."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, message: bytes) -> None:
        """See `Channel`."""
        await self._connection.send(message)

    async def receive(self) -> bytes:
        """See `Channel`."""
        try:
            return await self._connection.receive()
        except UpstreamError as error:
            raise ChannelEnded(error) from error

    async def aclose(self) -> None:
        """See `Channel`."""
        await self._connection.aclose()
