"""Every LLM API that streams, in one form, for the tests that hold for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from tests.bedrock_replies import (
    converse_body,
    converse_stream,
    frame,
    frames,
    invoke_stream,
    invoked,
    llama_body,
    llama_stream,
    titan_body,
    titan_stream,
)
from tests.ollama_replies import (
    ollama_chat,
    ollama_chat_stream,
    ollama_completion,
    ollama_completion_stream,
)
from tests.scripted_upstream import (
    USAGE,
    Reply,
    anthropic_body,
    anthropic_stream,
    chat_body,
    chat_stream,
    completion_body,
    completion_stream,
    pieces,
    responses_body,
    responses_stream,
)


class Dialect(NamedTuple):
    """How one API is asked, what its upstream answers, and how its answers are read."""

    path: Callable[[bool], str]
    """By whether a stream is asked for."""
    body: Callable[[str, bool], dict[str, Any]]
    whole: Callable[[str], Reply]
    stream: Callable[[str, int], Reply]
    """A text in pieces of a size, ready to be cut in any way."""
    text: Callable[[Any], str]
    """What a whole answer says."""
    events: Callable[[bytes], list[Any]]
    """The events of a stream that the client got, also of one that was cut."""
    piece: Callable[[Any], str]
    """What one event adds to the text."""
    failure: Callable[[str], Any]
    """The event with which an upstream gives up, by its message."""
    closing: int
    """How many events come behind the last piece of text."""


class Answered(NamedTuple):
    """What a client saw of one call."""

    status: int
    raw: bytes
    is_cut: bool
    headers: httpx.Headers


async def call(url: str, dialect: Dialect, text: str, *, stream: bool, key: str = "") -> Answered:
    """Ask through a proxy."""
    raw, is_cut = b"", False
    headers = {"anthropic-version": "2023-06-01"} | ({"authorization": f"Bearer {key}"} if key else {})
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        request = dialect.body(text, stream)
        async with client.stream("POST", url + dialect.path(stream), json=request, headers=headers) as answer:
            try:
                async for piece in answer.aiter_bytes():
                    raw += piece
            except httpx.RemoteProtocolError:
                is_cut = True
            return Answered(answer.status_code, raw, is_cut, answer.headers)


def said(dialect: Dialect, raw: bytes) -> str:
    """The text of a stream."""
    return "".join(dialect.piece(event) for event in dialect.events(raw))


def failed(dialect: Dialect, reply: Reply, message: str) -> Reply:
    """The same stream, given up before its end with a message."""
    events: list[Any] = reply.frames or reply.events
    events[-dialect.closing :] = [dialect.failure(message)]
    return reply


def without_end(dialect: Dialect, reply: Reply, ending: Any = "clean") -> Reply:
    """The same stream without what makes it complete."""
    events = reply.frames or reply.events
    del events[-dialect.closing :]
    reply.ending = ending
    return reply


def _messages(text: str, stream: bool) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}], "stream": stream}


def _sse(raw: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


def _lines(raw: bytes) -> list[Any]:
    assert raw.endswith(b"\n") or not raw
    return [json.loads(line) for line in raw.splitlines()]


def _array(raw: bytes) -> list[Any]:
    text, decoder, events = raw.decode().removeprefix("["), json.JSONDecoder(), []
    while text.strip("],\r\n"):
        event, end = decoder.raw_decode(text)
        events.append(event)
        text = text[end:].removeprefix(",\r\n")
    return events


def _block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _chat_stream(text: str, size: int) -> Reply:
    reply = chat_stream(text, size=size)
    counted = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}
    reply.events.insert(-1, (None, counted))
    return reply


def _chat_piece(event: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _responses_piece(event: Any) -> str:
    return event["delta"] if event.get("type") == "response.output_text.delta" else ""


def _anthropic_piece(event: Any) -> str:
    return event["delta"].get("text", "") if event.get("type") == "content_block_delta" else ""


def _gemini_text(event: Any) -> str:
    parts = event["candidates"][0]["content"]["parts"] if event.get("candidates") else ()
    return "".join(part.get("text", "") for part in parts)


def _gemini_answer(text: str, **candidate: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"index": 0, "content": content, **candidate}], "usageMetadata": _GEMINI_USAGE}


def _gemini_stream(text: str, size: int) -> Reply:
    events: list[tuple[str | None, Any]] = [(None, _gemini_answer(piece)) for piece in pieces(text, size)]
    return Reply(events=[*events, (None, _gemini_answer("", finishReason="STOP"))], line_end="\r\n")


def _gemini(query: str, events: Callable[[bytes], list[Any]]) -> Dialect:
    def path(stream: bool) -> str:
        return f"/v1beta/models/m:streamGenerateContent{query}" if stream else "/v1beta/models/m:generateContent"

    return Dialect(
        path=path,
        body=lambda text, stream: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        whole=lambda text: Reply(body=_gemini_answer(text, finishReason="STOP")),
        stream=_gemini_stream,
        text=_gemini_text,
        events=events,
        piece=_gemini_text,
        failure=lambda message: (None, {"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}}),
        closing=1,
    )


_GEMINI_USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 7}

DIALECTS = {
    "chat": Dialect(
        path=lambda stream: "/v1/chat/completions",
        body=_messages,
        whole=chat_body,
        stream=_chat_stream,
        text=lambda answer: answer["choices"][0]["message"]["content"],
        events=_sse,
        piece=_chat_piece,
        failure=lambda message: (None, {"error": {"message": message, "type": "server_error", "code": None}}),
        closing=3,
    ),
    "completions": Dialect(
        path=lambda stream: "/v1/completions",
        body=lambda text, stream: {"model": "m", "prompt": text, "stream": stream},
        whole=completion_body,
        stream=lambda text, size: completion_stream(text, size=size),
        text=lambda answer: answer["choices"][0]["text"],
        events=_sse,
        piece=lambda event: "".join(choice["text"] for choice in event.get("choices", ())),
        failure=lambda message: (None, {"error": {"message": message, "type": "server_error", "code": None}}),
        closing=3,
    ),
    "responses": Dialect(
        path=lambda stream: "/v1/responses",
        body=lambda text, stream: {"model": "m", "input": text, "stream": stream},
        whole=responses_body,
        stream=lambda text, size: responses_stream(text, size=size),
        text=lambda answer: answer["output"][0]["content"][0]["text"],
        events=_sse,
        piece=_responses_piece,
        failure=lambda message: ("error", {"type": "error", "message": message, "sequence_number": 900}),
        closing=4,
    ),
    "anthropic": Dialect(
        path=lambda stream: "/v1/messages",
        body=_messages,
        whole=lambda text: anthropic_body(_block(text)),
        stream=lambda text, size: anthropic_stream(_block(text), size=size),
        text=lambda answer: answer["content"][0]["text"],
        events=_sse,
        piece=_anthropic_piece,
        failure=lambda message: ("error", {"type": "error", "error": {"type": "api_error", "message": message}}),
        closing=3,
    ),
    "gemini events": _gemini("?alt=sse", _sse),
    "gemini array": _gemini("", _array),
    "ollama chat": Dialect(
        path=lambda stream: "/api/chat",
        body=_messages,
        whole=ollama_chat,
        stream=lambda text, size: ollama_chat_stream(text, size=size),
        text=lambda answer: answer["message"]["content"],
        events=_lines,
        piece=lambda event: event.get("message", {}).get("content", ""),
        failure=lambda message: json.dumps({"error": message}).encode() + b"\n",
        closing=1,
    ),
    "ollama generate": Dialect(
        path=lambda stream: "/api/generate",
        body=lambda text, stream: {"model": "m", "prompt": text, "stream": stream},
        whole=ollama_completion,
        stream=lambda text, size: ollama_completion_stream(text, size=size),
        text=lambda answer: answer["response"],
        events=_lines,
        piece=lambda event: event.get("response", ""),
        failure=lambda message: json.dumps({"error": message}).encode() + b"\n",
        closing=1,
    ),
    "converse": Dialect(
        path=lambda stream: f"/model/maker.model-v1%3A0/converse{'-stream' if stream else ''}",
        body=lambda text, stream: {"messages": [{"role": "user", "content": [{"text": text}]}]},
        whole=lambda text: converse_body({"text": text}),
        stream=lambda text, size: converse_stream({"text": text}, size=size),
        text=lambda answer: answer["output"]["message"]["content"][0]["text"],
        events=frames,
        piece=lambda event: event["delta"]["text"] if event[":name"] == "contentBlockDelta" else "",
        failure=lambda message: frame("modelStreamErrorException", {"message": message}, "exception"),
        closing=3,
    ),
    "invoke": Dialect(
        path=lambda stream: f"/model/anthropic.model-v1%3A0/invoke{'-with-response-stream' if stream else ''}",
        body=lambda text, stream: {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": text}],
        },
        whole=lambda text: anthropic_body(_block(text)),
        stream=lambda text, size: invoke_stream(_block(text), size=size),
        text=lambda answer: answer["content"][0]["text"],
        events=invoked,
        piece=_anthropic_piece,
        failure=lambda message: frame("modelTimeoutException", {"message": message}, "exception"),
        closing=3,
    ),
    "invoke llama": Dialect(
        path=lambda stream: f"/model/us.meta.model-v1%3A0/invoke{'-with-response-stream' if stream else ''}",
        body=lambda text, stream: {"prompt": text, "max_gen_len": 9},
        whole=llama_body,
        stream=lambda text, size: llama_stream(text, size=size),
        text=lambda answer: answer["generation"],
        events=invoked,
        piece=lambda event: event.get("generation", ""),
        failure=lambda message: frame("modelStreamErrorException", {"message": message}, "exception"),
        closing=1,
    ),
    "invoke titan": Dialect(
        path=lambda stream: f"/model/amazon.titan-text-v1%3A0/invoke{'-with-response-stream' if stream else ''}",
        body=lambda text, stream: {"inputText": text, "textGenerationConfig": {"maxTokenCount": 9}},
        whole=titan_body,
        stream=lambda text, size: titan_stream(text, size=size),
        text=lambda answer: answer["results"][0]["outputText"],
        events=invoked,
        piece=lambda event: event.get("outputText", ""),
        failure=lambda message: frame("throttlingException", {"message": message}, "exception"),
        closing=1,
    ),
}
