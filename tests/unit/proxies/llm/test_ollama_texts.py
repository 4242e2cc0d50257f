"""Which texts of Ollama's bodies and lines are read, with which target (LLM-SRF-3)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxies.llm.facts import messages_and_calls, response_tool_calls
from proxies.llm.interpreters import interpreter
from proxies.llm.ollama_stream import MAX_TEXTS, OllamaStream
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts, response_usage
from proxies.llm.surfaces import Surface, find_route, speaks_ollama, upstream_path
from proxies.llm.tool_calls import OpenCalls
from rules.model import Target, Text

MARK = "find me"
CHAT, GENERATE, EMBED = Surface.OLLAMA_CHAT, Surface.OLLAMA_GENERATE, Surface.OLLAMA_EMBED
CALL = {"function": {"name": "send", "arguments": {"a": [MARK]}}}

REQUESTS = [
    (CHAT, {"messages": [{"role": "user", "content": MARK}]}, "/messages/0/content", Target.PROMPT),
    (CHAT, {"messages": [{"role": "system", "content": MARK}]}, "/messages/0/content", Target.SYSTEM_PROMPT),
    (CHAT, {"messages": [{"role": "assistant", "thinking": MARK}]}, "/messages/0/thinking", Target.COMPLETION),
    (CHAT, {"messages": [{"role": "tool", "content": MARK}]}, "/messages/0/content", Target.TOOL_RESULT),
    (CHAT, {"messages": [{"role": "tool", "tool_name": MARK}]}, "/messages/0/tool_name", Target.TOOL_NAME),
    (
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        "/messages/0/tool_calls/0/function/arguments/a/0",
        Target.TOOL_ARGS,
    ),
    (CHAT, {"messages": [{"role": "user", "images": [MARK]}]}, "/messages/0/images/0", Target.PROMPT),
    (CHAT, {"messages": [MARK]}, "/messages/0", Target.PROMPT),
    (CHAT, {"messages": MARK}, "/messages", Target.PROMPT),
    (CHAT, {"tools": [{"function": {"description": MARK}}]}, "/tools/0/function/description", Target.TOOL_DESCRIPTION),
    (CHAT, {"format": {"properties": {"p": {"enum": [MARK]}}}}, "/format/properties/p/enum/0", Target.SCHEMA),
    (CHAT, {"options": {"stop": [MARK]}}, "/options/stop/0", Target.PROMPT),
    (GENERATE, {"prompt": MARK}, "/prompt", Target.PROMPT),
    (GENERATE, {"suffix": MARK}, "/suffix", Target.PROMPT),
    (GENERATE, {"system": MARK}, "/system", Target.SYSTEM_PROMPT),
    (GENERATE, {"template": MARK}, "/template", Target.PROMPT),
    (GENERATE, {"images": {"a": MARK}}, "/images/a", Target.PROMPT),
    (GENERATE, {"never_heard_of": [MARK]}, "/never_heard_of/0", Target.PROMPT),
    (EMBED, {"input": MARK}, "/input", Target.PROMPT),
    (EMBED, {"input": ["x", MARK]}, "/input/1", Target.PROMPT),
    (EMBED, {"prompt": MARK}, "/prompt", Target.PROMPT),
]
ANSWERS = [
    (CHAT, {"message": {"content": MARK}}, "/message/content", Target.COMPLETION),
    (CHAT, {"message": {"thinking": MARK}}, "/message/thinking", Target.COMPLETION),
    (CHAT, {"message": {"tool_calls": [CALL]}}, "/message/tool_calls/0/function/arguments/a/0", Target.TOOL_ARGS),
    (CHAT, {"message": {"tool_calls": MARK}}, "/message/tool_calls", Target.COMPLETION),
    (CHAT, {"message": MARK}, "/message", Target.COMPLETION),
    (GENERATE, {"response": MARK}, "/response", Target.COMPLETION),
    (GENERATE, {"thinking": MARK}, "/thinking", Target.COMPLETION),
    (GENERATE, {"tool_calls": [CALL]}, "/tool_calls/0/function/arguments/a/0", Target.TOOL_ARGS),
    (GENERATE, {"image": MARK}, "/image", Target.COMPLETION),
    (GENERATE, {"remote_host": MARK}, "/remote_host", Target.COMPLETION),
    (EMBED, {"embeddings": [[0.5]], "note": MARK}, "/note", Target.COMPLETION),
]


def places(texts: list[Text]) -> dict[str, Target]:
    return {text.path: text.target for text in texts if text.text == MARK}


@pytest.mark.parametrize(("surface", "body", "path", "target"), REQUESTS)
def test_LLM_SRF_3_texts_of_requests(surface: Surface, body: dict[str, Any], path: str, target: Target) -> None:
    assert places(request_texts(surface, {"model": "m", **body})) == {path: target}


@pytest.mark.parametrize(("surface", "body", "path", "target"), ANSWERS)
def test_LLM_SRF_3_texts_of_answers_and_lines(surface: Surface, body: Any, path: str, target: Target) -> None:
    assert places(response_texts(surface, body)) == {path: target}
    reading = OllamaStream().read(None, body)
    assert places([*reading.texts, *(Text(piece.target, piece.path, piece.text) for piece in reading.pieces)]) == {
        path: target
    }


def test_pictures_are_not_read() -> None:
    picture = base64.b64encode(bytes(range(256))).decode()
    body = {"messages": [{"role": "user", "content": "x", "images": [picture]}], "images": [picture]}
    assert [text.path for text in request_texts(CHAT, body)] == ["/messages/0/content"]
    assert response_texts(GENERATE, {"image": picture, "done_reason": "stop", "created_at": "now", "model": "m"}) == []


def test_texts_of_a_stream_run_by_member_until_done() -> None:
    stream = OllamaStream()
    first = stream.read(None, {"model": "m", "message": {"role": "assistant", "content": "a", "thinking": "t"}})
    second = stream.read(None, {"model": "m", "message": {"role": "assistant", "content": "b"}, "done": False})
    last = stream.read(None, {"message": {"content": ""}, "done": True, "prompt_eval_count": 3})
    assert [(piece.key, piece.text) for piece in [*first.pieces, *second.pieces]] == [
        ("/message/content", "a"),
        ("/message/thinking", "t"),
        ("/message/content", "b"),
    ]
    assert (first.is_end, first.texts, last.is_end, last.ended) == (
        False,
        [],
        True,
        ["/message/content", "/message/thinking"],
    )
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (3, 0)


def test_LIM_17_running_texts_are_bounded() -> None:
    members = {f"member{number}": MARK for number in range(MAX_TEXTS + 2)}
    reading = OllamaStream().read(None, {"message": members})
    assert (len(reading.pieces), len(reading.texts)) == (MAX_TEXTS, 2)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("/message/content", {"message": {"role": "assistant", "content": "x"}}),
        ("/message/thinking", {"message": {"role": "assistant", "content": "", "thinking": "x"}}),
        ("/message/a~1b", {"message": {"role": "assistant", "content": "", "a/b": "x"}}),
        ("/response", {"response": "x"}),
        ("/thinking", {"response": "", "thinking": "x"}),
    ],
)
def test_a_line_of_ours_looks_like_the_upstreams(key: str, line: dict[str, Any]) -> None:
    stream = OllamaStream()
    stream.read(None, {"model": "m", "created_at": "now", "message": {"content": "secret"}, "other": "secret"})
    event = stream.delta(key, "x")
    assert event.event is None
    assert json.loads(event.data) == {"model": "m", "created_at": "now", **line, "done": False}


def test_AG_PE_2_and_AG_PE_7_calls_and_messages_for_conditions() -> None:
    answer = {"message": {"role": "assistant", "tool_calls": [CALL]}}
    assert [(call.name, call.arguments) for call in response_tool_calls(answer)] == [("send", {"a": [MARK]})]
    calls = OpenCalls()
    calls.read({**answer, "done": False})
    assert [call.name for call in calls.take()[1]] == ["send"]
    messages, _ = messages_and_calls({"system": "s", "prompt": "p"})
    assert [(message.role, message.counts) for message in messages] == [("system", False), ("user", True)]


def test_LLM_USE_1_counts_are_usage() -> None:
    usage = response_usage(CHAT, {"prompt_eval_count": 10, "eval_count": 4})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (10, 4)
    assert response_usage(GENERATE, {"response": "x"}) is None
    lie = response_usage(EMBED, {"prompt_eval_count": -3})
    assert lie is not None
    assert lie.input_tokens == 0


@pytest.mark.parametrize(
    ("method", "path", "surface"),
    [
        ("POST", "/api/chat", CHAT),
        ("POST", "/api/generate", GENERATE),
        ("POST", "/api/embed", EMBED),
        ("POST", "/api/embeddings", EMBED),
        ("GET", "/api/tags", Surface.MODELS),
        ("GET", "/api/ps", Surface.MODELS),
        ("GET", "/api/version", Surface.MODELS),
        ("GET", "/api/chat", None),
        ("POST", "/api/tags", None),
        ("POST", "/api/chat/", None),
        ("POST", "/v1/api/chat", None),
        ("POST", "/api/show", Surface.OLLAMA_SHOW),
        ("GET", "/api/show", None),
        ("POST", "/api/pull", None),
        ("POST", "/api/push", None),
        ("POST", "/api/create", None),
        ("POST", "/api/copy", None),
        ("POST", "/api/blobs/sha256:00", None),
        ("DELETE", "/api/delete", None),
    ],
)
def test_LLM_SRF_1_only_what_can_be_inspected_has_a_route(method: str, path: str, surface: Surface | None) -> None:
    found = find_route(method, path)
    assert (found.surface if found else None) is surface


def test_paths_and_streams_of_the_api() -> None:
    assert upstream_path("/api/chat", "/base/api/") == "/chat"
    assert upstream_path("/api/chat", "/base") == "/api/chat"
    assert speaks_ollama("/api/show")
    assert not speaks_ollama("/api/v1/chat/completions")
    assert isinstance(interpreter(CHAT), OllamaStream)
    assert interpreter(EMBED) is None
