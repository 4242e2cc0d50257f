"""What Amazon Bedrock answers, whole and as a stream of frames, and its frames read by the AWS SDK's own parser."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from botocore.eventstream import EventStreamBuffer

from tests.scripted_upstream import Reply, anthropic_stream, pieces

EVENTS = "application/vnd.amazon.eventstream"
USAGE = {"inputTokens": 6, "outputTokens": 7, "totalTokens": 18, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}
METRICS = "amazon-bedrock-invocationMetrics"
COUNTED = {"inputTokenCount": 11, "outputTokenCount": 7}


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    """One frame by the layout of the AWS documentation, made without the product's own encoder."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    fields = b"".join(
        struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for key, value in ((f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind))
    )
    prelude = struct.pack("!II", 16 + len(fields) + len(body), len(fields))
    whole = prelude + struct.pack("!I", crc32(prelude)) + fields + body
    return whole + struct.pack("!I", crc32(whole))


def frames(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream: payloads, each with the name of its event as `:name`."""
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    return [
        {":name": one.headers.get(":event-type") or one.headers[":exception-type"], **json.loads(one.payload)}
        for one in buffer
    ]


def invoked(raw: bytes) -> list[dict[str, Any]]:
    """The events of the model's API that the chunks hold."""
    return [
        json.loads(base64.b64decode(event["bytes"])) if event[":name"] == "chunk" else event for event in frames(raw)
    ]


def converse_body(*blocks: dict[str, Any], **more: Any) -> Reply:
    message = {"role": "assistant", "content": list(blocks)}
    return Reply(body={"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE, **more})


def converse_stream(*blocks: dict[str, Any], size: int = 1, split: Any = "byte") -> Reply:
    """Blocks of text, reasoning and calls; every payload carries padding, as those of the service do."""
    made: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(blocks):
        place = {"contentBlockIndex": index}
        deltas: list[dict[str, Any]]
        if "toolUse" in block:
            call = block["toolUse"]
            start = {key: value for key, value in call.items() if key != "input"}
            made.append(("contentBlockStart", {**place, "start": {"toolUse": start}}))
            deltas = [{"toolUse": {"input": piece}} for piece in pieces(json.dumps(call["input"]), size)]
        elif "reasoningContent" in block:
            thought = block["reasoningContent"]["reasoningText"]
            deltas = [{"reasoningContent": {"text": piece}} for piece in pieces(thought["text"], size)]
            deltas.append({"reasoningContent": {"signature": thought["signature"]}})
        else:
            deltas = [{"text": piece} for piece in pieces(block["text"], size)]
        made += [("contentBlockDelta", {**place, "delta": delta}) for delta in deltas]
        made.append(("contentBlockStop", place))
    made += [("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})]
    return framed((frame(name, {**payload, "p": "abcdefgh"}) for name, payload in made), split=split)


def invoke_stream(*blocks: dict[str, Any], size: int = 1, split: Any = "byte") -> Reply:
    events = [event for _, event in anthropic_stream(*blocks, size=size).events if event["type"] != "ping"]
    events[-1][METRICS] = COUNTED
    return framed((frame("chunk", chunk(event)) for event in events), split=split)


def llama_body(text: str, **more: Any) -> Reply:
    counts = {"prompt_token_count": 11, "generation_token_count": 7}
    return Reply(body={"generation": text, **counts, "stop_reason": "stop", **more})


def llama_events(text: str, *, size: int = 1) -> list[dict[str, Any]]:
    """The prompt is counted in the first event, what was generated in each; the last one has an empty piece."""
    events: list[dict[str, Any]] = [
        {"generation": piece, "prompt_token_count": None, "generation_token_count": number, "stop_reason": None}
        for number, piece in enumerate([*pieces(text, size), ""], 1)
    ]
    events[0]["prompt_token_count"] = 11
    events[-1] |= {"generation_token_count": 7, "stop_reason": "stop", METRICS: COUNTED}
    return events


def llama_stream(text: str, *, size: int = 1, split: Any = "byte") -> Reply:
    return framed((frame("chunk", chunk(event)) for event in llama_events(text, size=size)), split=split)


def titan_body(*texts: str, **more: Any) -> Reply:
    results = [{"tokenCount": 7, "outputText": text, "completionReason": "FINISH"} for text in texts]
    return Reply(body={"inputTextTokenCount": 11, "results": results, **more})


def titan_events(text: str, *, size: int = 1, joined: bool = False) -> list[dict[str, Any]]:
    """`joined`: the last piece of the text stands in the event that ends it."""
    events: list[dict[str, Any]] = [
        {
            "outputText": piece,
            "index": 0,
            "totalOutputTextTokenCount": None,
            "completionReason": None,
            "inputTextTokenCount": None,
        }
        for piece in [*pieces(text, size), *([] if joined else [""])]
    ]
    events[0]["inputTextTokenCount"] = 11
    events[-1] |= {"totalOutputTextTokenCount": 7, "completionReason": "FINISH", METRICS: COUNTED}
    return events


def titan_stream(text: str, *, size: int = 1, split: Any = "byte", joined: bool = False) -> Reply:
    events = titan_events(text, size=size, joined=joined)
    return framed((frame("chunk", chunk(event)) for event in events), split=split)


def chunk(event: Any) -> dict[str, str]:
    return {"bytes": base64.b64encode(json.dumps(event, ensure_ascii=False).encode()).decode(), "p": "abc"}


def framed(made: Iterable[bytes], *, split: Any = "byte", **more: Any) -> Reply:
    return Reply(frames=list(made), media_type=EVENTS, split=split, **more)
