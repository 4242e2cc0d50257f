"""Turns of a Realtime conversation through a proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from tests.masking_calls import CLIENT_KEY


async def say(connection: Any, text: str) -> None:
    """Add a message of the user."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    await connection.conversation.item.create(item=item, event_id="event_said")


async def until(connection: Any, *kinds: str, seconds: float = 20) -> list[Any]:
    """The events up to the first of one of these types."""
    events: list[Any] = []
    async with asyncio.timeout(seconds):
        while not events or events[-1].type not in kinds:
            events.append(await connection.recv())
    return events


async def ask(connection: Any, text: str, *kinds: str) -> list[Any]:
    """Say something and have it answered; the events up to the end of the response."""
    await say(connection, text)
    await connection.response.create(event_id="event_asked")
    return await until(connection, *(kinds or ("response.done",)))


class RawClient:
    """A client that keeps the bytes of every message."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.raw = b""
        self.events: list[Any] = []

    async def send(self, event: Any) -> None:
        await self.socket.send(event if isinstance(event, (str, bytes)) else json.dumps(event))

    async def say(self, text: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send({"type": "conversation.item.create", "event_id": "event_said", "item": item})

    async def ask(self, text: str, *kinds: str) -> list[Any]:
        await self.say(text)
        await self.send({"type": "response.create", "event_id": "event_asked"})
        return await self.until(*(kinds or ("response.done",)))

    async def until(self, *kinds: str, seconds: float = 20) -> list[Any]:
        """The events up to the first of one of these types."""
        events: list[Any] = []
        async with asyncio.timeout(seconds):
            while not events or events[-1]["type"] not in kinds:
                message = await self.socket.recv()
                assert isinstance(message, str)
                self.raw += message.encode()
                events.append(json.loads(message))
        self.events += events
        return events

    async def closed(self, seconds: float = 20) -> int | None:
        """Read to the end; the code with which the connection was closed."""
        async with asyncio.timeout(seconds):
            try:
                async for message in self.socket:
                    self.raw += message.encode()
                    self.events.append(json.loads(message))
            except ConnectionClosedError:
                pass
        code: int | None = self.socket.close_code
        return code


@asynccontextmanager
async def raw_client(
    url: str, *, key: str = CLIENT_KEY, path: str = "/v1/realtime?model=gpt-realtime", **options: Any
) -> AsyncIterator[RawClient]:
    """A connection of our own making."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= options.pop("headers", {})
    async with connect(
        url.replace("http", "ws", 1) + path, additional_headers=headers, max_size=None, proxy=None, **options
    ) as socket:
        yield RawClient(socket)
