"""Turns of a Realtime conversation through a proxy."""

from __future__ import annotations

import asyncio
from typing import Any


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
