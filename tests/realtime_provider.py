"""A provider of the Realtime API on a real WebSocket, for the tests: it answers what the test says and keeps what arrives.

async with running_provider() as provider:
    provider.reply = lambda event, provider: [*response(text="hello")]
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.scripted_upstream import pieces

Event = dict[str, Any]
REALTIME_USAGE = {
    "total_tokens": 18,
    "input_tokens": 11,
    "output_tokens": 7,
    "input_token_details": {"cached_tokens": 4, "text_tokens": 11, "audio_tokens": 0},
    "output_token_details": {"text_tokens": 7, "audio_tokens": 0},
}
AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA"
PATIENCE_SECONDS = 20.0
_numbers = itertools.count(1)


class Provider:
    """The running server."""

    def __init__(self) -> None:
        self.url = ""
        self.reply: Callable[[Event], list[Event]] = lambda event: []
        """What it says to one event of the client."""
        self.ending: Literal["", "cut", "close"] = ""
        """What it does behind its next response."""
        self.split: Literal["event", "byte"] = "event"
        """Whether a message arrives in one piece or byte by byte."""
        self.refuses_with = 0
        self.greeting: list[Event] = [session_event("session.created")]
        self.events: list[Event] = []
        self.raw: list[bytes] = []
        self.sockets: list[ServerConnection] = []
        self.arrived = asyncio.Event()
        self.connected = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def seen(self) -> str:
        """Everything that arrived, as text; escapes of JSON are read."""
        return json.dumps(self.events, ensure_ascii=False) + b"".join(self.raw).decode()

    @property
    def types(self) -> list[str]:
        """The types of the events that arrived."""
        return [event["type"] for event in self.events]

    async def wait_for_events(self, count: int) -> None:
        """Wait until so many events have arrived."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.events) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def say(self, event: Event, socket: ServerConnection | None = None) -> None:
        """Send one event."""
        socket = socket or self.sockets[-1]
        text = json.dumps({"event_id": f"event_{next(_numbers)}", **event}, ensure_ascii=False)
        if self.split == "event":
            await socket.send(text)
            return
        # The same frame, byte by byte on the wire.
        socket.protocol.send_text(text.encode())
        for byte in b"".join(socket.protocol.data_to_send()):
            socket.transport.write(bytes([byte]))
            await asyncio.sleep(0)

    async def __call__(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self.connected.set()
        for event in self.greeting:
            await self.say(event, socket)
        try:
            async for message in socket:
                self.raw.append(message if isinstance(message, bytes) else message.encode())
                self.events.append(json.loads(message))
                self.arrived.set()
                for event in self.reply(self.events[-1]):
                    await self.say(event, socket)
                if self.ending and self.events[-1]["type"] == "response.create":
                    if self.ending == "cut":
                        socket.transport.abort()
                    else:
                        await socket.close(4001, "the provider's reason")
        except ConnectionClosed:
            pass
        finally:
            self.left.set()

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if not self.refuses_with:
            return None
        return Response(self.refuses_with, "no", Headers([("Retry-After", "3"), ("Content-Length", "0")]), b"")


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """The server on a free loopback port."""
    provider = Provider()
    async with serve(provider, "127.0.0.1", 0, process_request=provider._handshake, max_size=None) as server:
        provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield provider


# --- What a provider says ---------------------------------------------------------------------------------------------


def session_event(kind: str, **settings: Any) -> Event:
    session = {"id": "sess_1", "object": "realtime.session", "type": "realtime", "model": "gpt-realtime"}
    return {"type": kind, "session": {**session, "instructions": "Be kind.", "tools": [], **settings}}


def message_item(text: str, *, id: str = "item_1", spoken: bool = False) -> Event:
    part = {"type": "output_audio", "transcript": text} if spoken else {"type": "output_text", "text": text}
    return {
        "id": id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def begun(name: str = "resp_1") -> Event:
    response = {"id": name, "object": "realtime.response", "status": "in_progress", "output": [], "usage": None}
    return {"type": "response.created", "response": response}


def done(output: list[Event], name: str = "resp_1", status: str = "completed") -> Event:
    response = {"id": name, "object": "realtime.response", "status": status, "output": output, "usage": REALTIME_USAGE}
    return {"type": "response.done", "response": response}


def said(text: str, *, size: int = 3, name: str = "resp_1", item: str = "item_1", spoken: bool = False) -> list[Event]:
    """The events of one message of a response."""
    where = {"response_id": name, "item_id": item, "output_index": 0, "content_index": 0}
    kind = "response.output_audio_transcript" if spoken else "response.output_text"
    member = "transcript" if spoken else "text"
    whole = message_item(text, id=item, spoken=spoken)
    empty = {**whole, "status": "in_progress", "content": []}
    part = whole["content"][0]
    part = {**part, "type": "audio" if spoken else "text"}
    events = [
        {"type": "response.output_item.added", "response_id": name, "output_index": 0, "item": empty},
        {"type": "conversation.item.added", "previous_item_id": None, "item": empty},
        {"type": "response.content_part.added", **where, "part": {**part, member: ""}},
    ]
    for piece in pieces(text, size):
        if spoken:
            events.append({"type": "response.output_audio.delta", **where, "delta": AUDIO})
        events.append({"type": f"{kind}.delta", **where, "delta": piece})
    events += [
        *([{"type": "response.output_audio.done", **where}] if spoken else []),
        {"type": f"{kind}.done", **where, member: text},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "conversation.item.done", "previous_item_id": None, "item": whole},
        {"type": "response.output_item.done", "response_id": name, "output_index": 0, "item": whole},
    ]
    return events


def called(arguments: str, *, size: int = 3, name: str = "resp_1", item: str = "item_2") -> list[Event]:
    """The events of a function call of a response."""
    where = {"response_id": name, "item_id": item, "output_index": 1, "call_id": "call_1"}
    whole = call_item(arguments, id=item)
    kind = "response.function_call_arguments"
    return [
        {
            "type": "response.output_item.added",
            "response_id": name,
            "output_index": 1,
            "item": {**whole, "arguments": "", "status": "in_progress"},
        },
        *[{"type": f"{kind}.delta", **where, "delta": piece} for piece in pieces(arguments, size)],
        {"type": f"{kind}.done", **where, "name": "send", "arguments": arguments},
        {"type": "conversation.item.done", "previous_item_id": None, "item": whole},
        {"type": "response.output_item.done", "response_id": name, "output_index": 1, "item": whole},
    ]


def call_item(arguments: str, *, id: str = "item_2") -> Event:
    return {
        "id": id,
        "object": "realtime.item",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "send",
        "arguments": arguments,
    }


def response(
    text: str = "", *, arguments: str = "", size: int = 3, name: str = "resp_1", spoken: bool = False
) -> list[Event]:
    """A whole response, from its beginning to its end."""
    item, call = f"item_{name}_1", f"item_{name}_2"
    events = [begun(name)]
    output = []
    if text:
        events += said(text, size=size, name=name, item=item, spoken=spoken)
        output.append(message_item(text, id=item, spoken=spoken))
    if arguments:
        events += called(arguments, size=size, name=name, item=call)
        output.append(call_item(arguments, id=call))
    return [*events, done(output, name)]


def heard(transcript: str, *, item: str = "item_0", size: int = 3) -> list[Event]:
    """What the provider heard the caller say."""
    kind = "conversation.item.input_audio_transcription"
    usage = {"type": "tokens", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    deltas = [
        {"type": f"{kind}.delta", "item_id": item, "content_index": 0, "delta": piece}
        for piece in pieces(transcript, size)
    ]
    end = {"type": f"{kind}.completed", "item_id": item, "content_index": 0, "transcript": transcript, "usage": usage}
    return [*deltas, end]


def by_type(events: list[Event], kind: str) -> Iterator[Event]:
    return (event for event in events if event["type"] == kind)
