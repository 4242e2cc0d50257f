"""A real local upstream that answers what the test says, cut into pieces as the test says, and keeps every request.

async with running_scripted_upstream() as upstream:
    upstream.reply = lambda body: chat_stream("hello")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from tests.support.asgi_server import serving

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
RESPONSES_USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 18,
}


class Reply(msgspec.Struct):
    """One answer: a JSON body, or events (name and data)."""

    body: Any = None
    events: list[tuple[str | None, Any]] = []
    status: int = 200
    frames: list[bytes] = []
    """Events that are framed otherwise than server-sent ones, with their `media_type`."""
    split: Literal["byte", "event", "whole"] = "event"
    ending: Literal["clean", "cut", "open"] = "clean"
    """`open`: nothing more comes until the peer leaves, which sets `left`."""
    media_type: str = ""
    line_end: str = "\n"
    headers: dict[str, str] = {}
    """Of a whole answer, besides its media type."""


class ScriptedUpstream:
    """The running server."""

    def __init__(self) -> None:
        self.url = ""
        self.reply: Callable[[Any], Reply] = lambda body: Reply(body={})
        self.bodies: list[Any] = []
        self.raw: list[bytes] = []
        self.paths: list[str] = []
        self.targets: list[str] = []
        """Path and query as they came, with their escapes."""
        self.headers: list[dict[str, str]] = []
        self.left = asyncio.Event()

    @property
    def seen(self) -> str:
        """Everything that arrived, as text; escapes of JSON are read."""
        return json.dumps(self.bodies, ensure_ascii=False) + b"".join(self.raw).decode()

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "http":
            return
        data = b""
        while (message := await receive()).get("more_body"):
            data += message.get("body", b"")
        data += message.get("body", b"")
        self.raw.append(data)
        self.bodies.append(json.loads(data) if data else None)
        query = scope.get("query_string", b"").decode()
        self.paths.append(scope["path"] + (f"?{query}" if query else ""))
        self.targets.append(scope["raw_path"].decode() + (f"?{query}" if query else ""))
        self.headers.append({name.decode(): value.decode("latin-1") for name, value in scope["headers"]})
        reply = self.reply(self.bodies[-1])
        if reply.events or reply.frames:
            await _stream(reply, send)
            if reply.ending == "open":
                await _until_gone(receive)
                self.left.set()
            return
        media_type = reply.media_type or "application/json"
        start = {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                (b"content-type", media_type.encode()),
                *((name.encode(), value.encode()) for name, value in reply.headers.items()),
            ],
        }
        await send(start)
        if reply.split == "byte":
            for byte in json.dumps(reply.body).encode():
                await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.body", "body": json.dumps(reply.body).encode()})


async def _stream(reply: Reply, send: Callable[[Any], Any]) -> None:
    frames = list(reply.frames)
    for name, data in reply.events:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        end = reply.line_end
        frames.append(((f"event: {name}{end}" if name else "") + f"data: {text}{end}{end}").encode())
    headers = [(b"content-type", (reply.media_type or "text/event-stream").encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    whole = b"".join(frames)
    chunks = {"byte": [whole[i : i + 1] for i in range(len(whole))], "event": frames, "whole": [whole]}[reply.split]
    for number, chunk in enumerate(chunks):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if number % 50 == 0:
            await asyncio.sleep(0)
    if reply.ending == "cut":
        raise ConnectionResetError("the test wants a connection that dies in mid-answer")
    if reply.ending == "open":
        return
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Callable[[], Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def pieces(text: str, size: int = 1) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


# --- Chat Completions -------------------------------------------------------------------------------------------------


def chat_body(text: str | None, *, arguments: Iterable[str] = (), **message: Any) -> Reply:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "send", "arguments": one}}
        for n, one in enumerate(arguments)
    ]
    said: dict[str, Any] = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {}), **message}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
    return Reply(
        body={"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    )


def chat_chunk(delta: dict[str, Any], *, index: int = 0, finish: str | None = None, **choice: Any) -> tuple[None, Any]:
    one = {"index": index, "delta": delta, "finish_reason": finish, **choice}
    return None, {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one]}


def chat_stream(text: str = "", *, size: int = 1, arguments: Iterable[str] = (), split: Any = "byte") -> Reply:
    events: list[tuple[str | None, Any]] = [chat_chunk({"role": "assistant", "content": ""})]
    events += [chat_chunk({"content": piece}) for piece in pieces(text, size)]
    listed = list(arguments)
    for number in range(len(listed)):
        function = {"name": "send", "arguments": ""}
        events.append(
            chat_chunk(
                {"tool_calls": [{"index": number, "id": f"call_{number}", "type": "function", "function": function}]}
            )
        )
    for position in range(max(map(len, listed), default=0)):
        for number, one in enumerate(listed):
            if one[position : position + 1]:
                call = {"index": number, "function": {"arguments": one[position]}}
                events.append(chat_chunk({"tool_calls": [call]}))
    events += [chat_chunk({}, finish="tool_calls" if listed else "stop"), (None, "[DONE]")]
    return Reply(events=events, split=split)


def completion_body(text: str, **choice: Any) -> Reply:
    one = {"text": text, "index": 0, "logprobs": None, "finish_reason": "stop", **choice}
    return Reply(
        body={"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [one], "usage": USAGE}
    )


def completion_stream(text: str, *, size: int = 1, split: Any = "byte") -> Reply:
    named = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": None}
    events: list[tuple[str | None, Any]] = [
        (None, {**named, "choices": [{**choice, "text": piece}]}) for piece in pieces(text, size)
    ]
    events.append((None, {**named, "choices": [{**choice, "text": "", "finish_reason": "stop"}]}))
    return Reply(events=[*events, (None, {**named, "choices": [], "usage": USAGE}), (None, "[DONE]")], split=split)


# --- Responses --------------------------------------------------------------------------------------------------------


def _responses_items(text: str, arguments: Iterable[str], custom: str) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    items: list[dict[str, Any]] = [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    ]
    items += [
        {
            "id": f"fc_{n}",
            "type": "function_call",
            "call_id": f"call_{n}",
            "name": "send",
            "arguments": one,
            "status": "completed",
        }
        for n, one in enumerate(arguments)
    ]
    if custom:
        items.append({"id": "ct_1", "type": "custom_tool_call", "call_id": "call_c", "name": "free", "input": custom})
    return items


def _response(items: list[dict[str, Any]], id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSES_USAGE,
        **more,
    }


def responses_body(
    text: str, *, arguments: Iterable[str] = (), custom: str = "", id: str = "resp_1", **more: Any
) -> Reply:
    return Reply(body=_response(_responses_items(text, arguments, custom), id, **more))


def responses_stream(
    text: str,
    *,
    size: int = 1,
    arguments: Iterable[str] = (),
    custom: str = "",
    id: str = "resp_1",
    split: Any = "byte",
) -> Reply:
    items = _responses_items(text, arguments, custom)
    whole = _response(items, id)
    kinds: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    ]
    for index, item in enumerate(items):
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = item["content"][0]
            place = {**where, "content_index": 0}
            kinds.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "content": []}})
            kinds.append({"type": "response.content_part.added", **place, "part": {**part, "text": ""}})
            kinds += [
                {"type": "response.output_text.delta", **place, "delta": p, "logprobs": []} for p in pieces(text, size)
            ]
            kinds.append({"type": "response.output_text.done", **place, "text": text, "logprobs": []})
            kinds.append({"type": "response.content_part.done", **place, "part": part})
        else:
            member, name = (
                ("input", "custom_tool_call_input")
                if item["type"] == "custom_tool_call"
                else (
                    "arguments",
                    "function_call_arguments",
                )
            )
            kinds.append({"type": "response.output_item.added", "output_index": index, "item": {**item, member: ""}})
            kinds += [{"type": f"response.{name}.delta", **where, "delta": p} for p in pieces(item[member], size)]
            kinds.append({"type": f"response.{name}.done", **where, "name": item["name"], member: item[member]})
        kinds.append({"type": "response.output_item.done", "output_index": index, "item": item})
    kinds.append({"type": "response.completed", "response": whole})
    events: list[tuple[str | None, Any]] = [
        (str(kind["type"]), {**kind, "sequence_number": number}) for number, kind in enumerate(kinds)
    ]
    return Reply(events=events, split=split)


# --- Anthropic Messages -----------------------------------------------------------------------------------------------


def anthropic_body(*blocks: dict[str, Any]) -> Reply:
    usage = {"input_tokens": 11, "output_tokens": 7}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    return Reply(body={**message, "content": list(blocks), "stop_reason": "end_turn", "usage": usage})


def anthropic_stream(*blocks: dict[str, Any], size: int = 1, split: Any = "byte") -> Reply:
    opening = {**anthropic_body().body, "stop_reason": None}
    kinds: list[dict[str, Any]] = [{"type": "message_start", "message": opening}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        kind = block["type"]
        if kind == "text":
            empty, deltas = (
                {**block, "text": ""},
                [{"type": "text_delta", "text": p} for p in pieces(block["text"], size)],
            )
        elif kind == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"], size)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in pieces(text, size)]
        kinds.append({"type": "content_block_start", "index": index, "content_block": empty})
        kinds += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        kinds.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    kinds.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}})
    kinds.append({"type": "message_stop"})
    return Reply(events=[(str(kind["type"]), kind) for kind in kinds], split=split)


@asynccontextmanager
async def running_scripted_upstream() -> AsyncIterator[ScriptedUpstream]:
    """The server on a free loopback port, for the duration of the block."""
    upstream = ScriptedUpstream()
    async with serving(upstream) as upstream.url:
        yield upstream
