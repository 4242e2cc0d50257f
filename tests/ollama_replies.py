"""What an Ollama server answers, whole and as a stream of lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.scripted_upstream import Reply, pieces

LINES = "application/x-ndjson"
COUNTS = {"total_duration": 5, "load_duration": 1, "prompt_eval_count": 11, "eval_count": 7, "eval_duration": 2}
_NAMES = {"model": "m", "created_at": "2026-01-01T00:00:00.000000001Z"}


def ollama_message(text: str = "", *, thinking: str = "", arguments: Iterable[Any] = ()) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls := [{"function": {"index": n, "name": "send", "arguments": one}} for n, one in enumerate(arguments)]:
        message["tool_calls"] = calls
    return message


def ollama_chat(text: str, *, thinking: str = "", arguments: Iterable[Any] = (), **more: Any) -> Reply:
    message = ollama_message(text, thinking=thinking, arguments=arguments)
    return Reply(body={**_NAMES, "message": message, "done": True, "done_reason": "stop", **COUNTS, **more})


def ollama_chat_stream(
    text: str, *, size: int = 1, thinking: str = "", arguments: Iterable[Any] = (), split: Any = "byte"
) -> Reply:
    said = [ollama_message(thinking=piece) for piece in pieces(thinking, size)]
    said += [ollama_message(piece) for piece in pieces(text, size)]
    if listed := list(arguments):
        said.append(ollama_message(arguments=listed))
    lines: list[dict[str, Any]] = [{**_NAMES, "message": message, "done": False} for message in said]
    lines.append({**_NAMES, "message": ollama_message(), "done": True, "done_reason": "stop", **COUNTS})
    return lines_of(lines, split=split)


def ollama_completion(text: str, **more: Any) -> Reply:
    tokens = {"context": [1, 2, 3]}
    return Reply(body={**_NAMES, "response": text, "done": True, "done_reason": "stop", **tokens, **COUNTS, **more})


def ollama_completion_stream(text: str, *, size: int = 1, thinking: str = "", split: Any = "byte") -> Reply:
    lines: list[dict[str, Any]] = [
        {**_NAMES, "response": "", "thinking": piece, "done": False} for piece in pieces(thinking, size)
    ]
    lines += [{**_NAMES, "response": piece, "done": False} for piece in pieces(text, size)]
    lines.append({**ollama_completion("").body})
    return lines_of(lines, split=split)


def lines_of(lines: Iterable[Any], *, split: Any = "byte", **more: Any) -> Reply:
    frames = [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]
    return Reply(frames=frames, media_type=LINES, split=split, **more)
