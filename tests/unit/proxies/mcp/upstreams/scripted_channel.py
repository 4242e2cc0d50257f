"""A channel in memory whose other end a test plays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from proxies.mcp.upstreams.interface import ChannelEnded
from proxies.transport.errors import UpstreamTruncated

Script = Callable[["ScriptedChannel", dict[str, Any]], None]


def answer_everything(channel: ScriptedChannel, message: dict[str, Any]) -> None:
    """Initialize and discover as servers of both eras do, and give every other request an empty result."""
    if message.get("method") == "initialize":
        channel.say(id=message["id"], result={"protocolVersion": "2025-11-25"})
    elif "id" in message and message.get("method"):
        channel.say(id=message["id"], result={})


class ScriptedChannel:
    """`sent` is what the gateway sent; `say` is what the server says."""

    def __init__(self, script: Script = answer_everything) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self._script = script
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()

    def say(self, **message: Any) -> None:
        self.say_raw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def say_raw(self, data: bytes) -> None:
        self._incoming.put_nowait(data)

    def end(self) -> None:
        self._incoming.put_nowait(None)

    def methods(self) -> list[str]:
        return [message.get("method", "response") for message in self.sent]

    async def send(self, message: bytes) -> None:
        if self.closed:
            raise UpstreamTruncated("closed")
        self.sent.append(json.loads(message))
        self._script(self, self.sent[-1])

    async def receive(self) -> bytes:
        data = await self._incoming.get()
        if data is None:
            raise ChannelEnded(UpstreamTruncated("the server left"))
        return data

    async def aclose(self) -> None:
        self.closed = True
