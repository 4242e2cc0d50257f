# ruff: noqa: E501 - One case a line reads better than many lines a case.
"""Which texts of Bedrock's Converse API are read, with which target (LLM-SRF-3), and what its events say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxies.llm.bedrock_frames import ConverseFrames, InvokeFrames
from proxies.llm.converse_stream import ConverseStream
from proxies.llm.errors import stream_event
from proxies.llm.facts import messages_and_calls, response_tool_calls
from proxies.llm.interpreters import framing, interpreter, stream_media_type
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts, response_usage
from proxies.llm.streams import AnthropicStream
from proxies.llm.surfaces import Route, Surface, find_route, speaks_bedrock, upstream_path
from proxies.llm.tool_calls import OpenCalls
from proxies.refusal import Refusal
from proxies.transport.sse import SSEEvent
from rules.model import Target, Text
from tests.bedrock_replies import frames, invoked

MARK = "find me"
CONVERSE, INVOKE = Surface.BEDROCK_CONVERSE, Surface.BEDROCK_INVOKE
ENCODED = base64.b64encode(MARK.encode()).decode()
TOOL_RESULT = {"toolUseId": "t", "status": "success", "content": [{"json": {"a": MARK}}]}


def at(block: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": [block]}]}


BLOCK = "/messages/0/content/0"
REQUESTS = [
    (at({"text": MARK}), f"{BLOCK}/text", Target.PROMPT),
    (at({"text": MARK}, "assistant"), f"{BLOCK}/text", Target.COMPLETION),
    (at({"text": MARK}, "system"), f"{BLOCK}/text", Target.SYSTEM_PROMPT),
    (at(MARK), BLOCK, Target.PROMPT),
    ({"messages": [{"role": "user", "content": MARK}]}, "/messages/0/content", Target.PROMPT),
    ({"messages": [{"role": "user", "note": MARK}]}, "/messages/0/note", Target.PROMPT),
    ({"messages": [MARK]}, "/messages/0", Target.PROMPT),
    ({"messages": MARK}, "/messages", Target.PROMPT),
    (at({"document": {"source": {"text": MARK}}}), f"{BLOCK}/document/source/text", Target.DOCUMENT),
    (at({"document": {"source": {"bytes": ENCODED}}}), f"{BLOCK}/document/source/bytes;base64", Target.DOCUMENT),
    (at({"document": {"source": {"bytes": MARK}}}), f"{BLOCK}/document/source/bytes", Target.DOCUMENT),
    (at({"document": {"name": MARK}}), f"{BLOCK}/document/name", Target.DOCUMENT),
    (at({"searchResult": {"content": [{"text": MARK}]}}), f"{BLOCK}/searchResult/content/0/text", Target.DOCUMENT),
    (at({"image": {"source": {"bytes": ENCODED}}}), f"{BLOCK}/image/source/bytes;base64", Target.PROMPT),
    (at({"guardContent": {"text": {"text": MARK}}}), f"{BLOCK}/guardContent/text/text", Target.PROMPT),
    (at({"toolUse": {"name": "f", "input": {"a": MARK}}}, "assistant"), f"{BLOCK}/toolUse/input/a", Target.TOOL_ARGS),
    (at({"toolUse": {"name": MARK}}, "assistant"), f"{BLOCK}/toolUse/name", Target.TOOL_NAME),
    (at({"toolResult": TOOL_RESULT}), f"{BLOCK}/toolResult/content/0/json/a", Target.TOOL_RESULT),
    (at({"toolResult": MARK}), f"{BLOCK}/toolResult", Target.PROMPT),
    (
        at({"reasoningContent": {"reasoningText": {"text": MARK}}}, "assistant"),
        f"{BLOCK}/reasoningContent/reasoningText/text",
        Target.COMPLETION,
    ),
    (at({"reasoningContent": MARK}, "assistant"), f"{BLOCK}/reasoningContent", Target.COMPLETION),
    ({"system": [{"text": MARK}]}, "/system/0/text", Target.SYSTEM_PROMPT),
    ({"system": MARK}, "/system", Target.SYSTEM_PROMPT),
    ({"toolConfig": {"tools": [{"toolSpec": {"name": MARK}}]}}, "/toolConfig/tools/0/toolSpec/name", Target.TOOL_NAME),
    (
        {"toolConfig": {"tools": [{"toolSpec": {"description": MARK}}]}},
        "/toolConfig/tools/0/toolSpec/description",
        Target.TOOL_DESCRIPTION,
    ),
    (
        {"toolConfig": {"tools": [{"toolSpec": {"inputSchema": {"json": {"title": MARK}}}}]}},
        "/toolConfig/tools/0/toolSpec/inputSchema/json/title",
        Target.PARAM_DESCRIPTION,
    ),
    ({"toolConfig": {"tools": [MARK]}}, "/toolConfig/tools/0", Target.TOOL_DESCRIPTION),
    ({"toolConfig": {"tools": [{"newKind": MARK}]}}, "/toolConfig/tools/0/newKind", Target.SCHEMA),
    ({"toolConfig": {"toolChoice": {"tool": MARK}}}, "/toolConfig/toolChoice/tool", Target.SCHEMA),
    ({"outputConfig": {"textFormat": {"description": MARK}}}, "/outputConfig/textFormat/description", Target.PARAM_DESCRIPTION),
    ({"promptVariables": {"a": {"text": MARK}}}, "/promptVariables/a/text", Target.PROMPT),
    ({"additionalModelRequestFields": [MARK]}, "/additionalModelRequestFields/0", Target.PROMPT),
]  # fmt: skip


def answered(block: Any) -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": [block]}}}


ANSWERED = "/output/message/content/0"
ANSWERS = [
    (answered({"text": MARK}), f"{ANSWERED}/text", Target.COMPLETION),
    (answered({"toolUse": {"name": "f", "input": {"a": MARK}}}), f"{ANSWERED}/toolUse/input/a", Target.TOOL_ARGS),
    (answered({"citationsContent": {"content": [{"text": MARK}]}}), f"{ANSWERED}/citationsContent/content/0/text", Target.COMPLETION),
    ({"output": {"message": MARK}}, "/output/message", Target.COMPLETION),
    ({"output": {"message": {"content": [], "note": MARK}}}, "/output/message/note", Target.COMPLETION),
    ({"output": {"other": MARK}}, "/output/other", Target.COMPLETION),
    ({"output": MARK}, "/output", Target.COMPLETION),
    ({"trace": {"guardrail": {"modelOutput": [MARK]}}}, "/trace/guardrail/modelOutput/0", Target.COMPLETION),
    ({"additionalModelResponseFields": {"a": MARK}}, "/additionalModelResponseFields/a", Target.COMPLETION),
]  # fmt: skip


def places(texts: list[Text]) -> dict[str, Target]:
    return {text.path: text.target for text in texts if text.text == MARK}


@pytest.mark.parametrize(("body", "path", "target"), REQUESTS)
def test_LLM_SRF_3_texts_of_requests(body: dict[str, Any], path: str, target: Target) -> None:
    assert places(request_texts(CONVERSE, body)) == {path: target}


@pytest.mark.parametrize(("body", "path", "target"), ANSWERS)
def test_LLM_SRF_3_texts_of_answers(body: Any, path: str, target: Target) -> None:
    assert places(response_texts(CONVERSE, body)) == {path: target}


def test_signatures_ids_and_binary_files_are_not_read() -> None:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n\xff" * 9).decode()
    reasoning = {"reasoningText": {"text": "", "signature": MARK}, "redactedContent": MARK, "signature": MARK}
    body = {
        "messages": [
            {"role": "assistant", "content": [{"reasoningContent": reasoning}, {"image": {"source": {"bytes": picture}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "status": "success", "content": []}}]},
        ]
    }  # fmt: skip
    assert request_texts(CONVERSE, body) == []
    assert response_texts(CONVERSE, {"stopReason": "end_turn", "usage": {"inputTokens": 1}, "metrics": {"a": 5}}) == []


EVENTS = [
    ("contentBlockStart", {"start": {"toolUse": {"name": MARK}}}, Target.TOOL_NAME),
    ("contentBlockStart", {"start": {"image": {"format": MARK}}}, Target.COMPLETION),
    ("contentBlockStart", {"start": MARK}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"text": MARK}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"toolUse": {"input": MARK}}}, Target.TOOL_ARGS),
    ("contentBlockDelta", {"delta": {"toolUse": {"note": MARK}}}, Target.TOOL_ARGS),
    ("contentBlockDelta", {"delta": {"toolUse": MARK}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"toolResult": [{"text": MARK}]}}, Target.TOOL_RESULT),
    ("contentBlockDelta", {"delta": {"reasoningContent": {"text": MARK}}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"reasoningContent": {"note": MARK}}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"citation": {"title": MARK}}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"image": {"source": {"bytes": ENCODED}}}}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": MARK}, Target.COMPLETION),
    ("contentBlockDelta", {"delta": {"text": "x"}, "p": MARK}, Target.COMPLETION),
    ("messageStop", {"additionalModelResponseFields": {"a": MARK}}, Target.COMPLETION),
    ("metadata", {"trace": {"a": [MARK]}}, Target.COMPLETION),
    ("validationException", {"message": MARK}, Target.COMPLETION),
    ("newEvent", {"delta": {"text": MARK}}, Target.COMPLETION),
]


@pytest.mark.parametrize(("name", "body", "target"), EVENTS)
def test_LLM_SRF_3_texts_of_events(name: str, body: dict[str, Any], target: Target) -> None:
    reading = ConverseStream().read(name, {"contentBlockIndex": 0, **body})
    found = [*reading.texts, *(Text(piece.target, piece.path, piece.text) for piece in reading.pieces)]
    assert list(places(found).values()) == [target]


def test_padding_and_what_is_signed_are_left_alone() -> None:
    stream = ConverseStream()
    for delta in ({"signature": MARK}, {"redactedContent": MARK}):
        event = {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}, "p": "abcdef"}
        reading = stream.read("contentBlockDelta", event)
        assert (reading.texts, reading.pieces) == ([], [])


def test_texts_of_a_stream_run_by_block_and_end_with_it() -> None:
    stream = ConverseStream()
    stream.read("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})
    escaped = json.dumps({"command": 'sh -c "ls"'})
    stream.read("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": escaped}}})
    first = stream.read("contentBlockStop", {"contentBlockIndex": 0})
    last = stream.read("messageStop", {"stopReason": "tool_use"})
    assert (first.ended, first.is_end, last.ended, last.is_end) == (["0.text"], False, ["1.toolUse"], True)
    assert [text.text for text in last.decoded] == ['sh -c "ls"']
    stream.read("metadata", {"usage": {"inputTokens": 3, "outputTokens": 1}})
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (3, 1)


def test_RED_PH_7_values_do_not_go_back_into_calls_of_the_provider() -> None:
    stream = ConverseStream()
    start = {"toolUse": {"toolUseId": "t", "name": "search", "type": "server_tool_use"}}
    stream.read("contentBlockStart", {"contentBlockIndex": 0, "start": start})
    of = [
        stream.read("contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": "{"}}})
        for index in (0, 1)
    ]
    assert [reading.pieces[0].restorable for reading in of] == [False, True]


@pytest.mark.parametrize(("key", "delta"), [("2.text", {"text": "x"}), ("2.toolUse", {"toolUse": {"input": "x"}})])
def test_an_event_of_ours_looks_like_the_upstreams(key: str, delta: dict[str, Any]) -> None:
    event = ConverseStream().delta(key, "x")
    assert event.event == "contentBlockDelta"
    assert json.loads(event.data) == {"contentBlockIndex": 2, "delta": delta}


def test_AG_PE_2_and_AG_PE_7_calls_and_messages_for_conditions() -> None:
    call = {"toolUse": {"toolUseId": "t", "name": "send", "input": {"a": 1}}}
    assert [(one.name, one.arguments) for one in response_tool_calls(answered(call))] == [("send", {"a": 1})]
    messages, calls = messages_and_calls({"system": [{"text": "s"}], **at(call, "assistant")})
    assert [(message.role, message.counts) for message in messages] == [("system", False), ("assistant", True)]
    assert [one.path for one in calls] == ["/messages/0/content/0/toolUse"]


def test_AG_PE_2_a_call_begins_with_its_name_and_is_complete_with_its_block() -> None:
    calls = OpenCalls()
    calls.read({"contentBlockIndex": 1, "start": {"toolUse": {"name": "send"}}})
    named, complete = calls.take()
    assert ([one.name for one in named], complete) == (["send"], [])
    for piece in ('{"a":', "1}"):
        calls.read({"contentBlockIndex": 1, "delta": {"toolUse": {"input": piece}}})
    calls.read({"contentBlockIndex": 0, "delta": {"text": "x"}})
    calls.read({"contentBlockIndex": 0, "start": {"image": {}}})
    assert calls.take() == ([], [])
    calls.read({"contentBlockIndex": 1})
    assert [(one.name, one.arguments) for one in calls.take()[1]] == [("send", {"a": 1})]


def test_LLM_USE_1_input_tokens_are_all_that_were_read() -> None:
    reported = {"inputTokens": 6, "outputTokens": 4, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}
    usage = response_usage(CONVERSE, {"usage": reported})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (
        11,
        4,
        3,
        2,
    )
    assert response_usage(CONVERSE, {"usage": {}}) is None
    invoke = response_usage(INVOKE, {"usage": {"input_tokens": 5, "output_tokens": 1}})
    assert invoke is not None
    assert invoke.input_tokens == 5


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/model/a.b-v1:0/converse", Route(CONVERSE, "/model/a.b-v1:0/converse", "a.b-v1:0")),
        ("/model/a%3A0/converse-stream", Route(CONVERSE, "/model/a%3A0/converse-stream", "a:0", True)),
        ("/model/x%2Fy/invoke", Route(INVOKE, "/model/x%2Fy/invoke", "x/y")),
        ("/model/x/invoke-with-response-stream", Route(INVOKE, "/model/x/invoke-with-response-stream", "x", True)),
        ("/model/x/invoke-stream", None),
        ("/model/x/count-tokens", None),
        ("/model/x/async-invoke", None),
        ("/model/x/y/converse", None),
        ("/model/%61/converse", None),
        ("/model//converse", None),
        ("/guardrail/x/version/1/apply", None),
    ],
)
def test_LLM_SRF_1_only_what_can_be_inspected_has_a_route(path: str, route: Route | None) -> None:
    assert find_route("POST", path) == route
    assert find_route("GET", path) is None


def test_streams_and_errors_of_the_api() -> None:
    assert isinstance(interpreter(CONVERSE), ConverseStream)
    assert isinstance(interpreter(INVOKE), AnthropicStream)
    assert type(framing(CONVERSE, "")) is ConverseFrames
    assert type(framing(INVOKE, "")) is InvokeFrames
    assert stream_media_type(CONVERSE) == "application/vnd.amazon.eventstream"
    assert speaks_bedrock("/model/x/anything")
    assert upstream_path("/model/x/converse", "/base/model") == "/x/converse"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (403, "validationException"),
        (429, "throttlingException"),
        (502, "internalServerException"),
        (503, "serviceUnavailableException"),
    ],
)
@pytest.mark.parametrize("surface", [CONVERSE, INVOKE])
def test_LLM_ERR_2_the_error_that_ends_a_stream_is_an_exception(surface: Surface, status: int, name: str) -> None:
    event = stream_event(surface, Refusal(status, "some_code", "Why."), "call_1", "", 0)
    (read,) = frames(framing(surface, "").event(event))
    assert (read[":name"], read["message"], read["code"]) == (name, "Why.", "some_code")


def test_events_of_an_invoked_model_go_into_chunks() -> None:
    writer = InvokeFrames()
    raw = writer.event(SSEEvent(event=None, data='{"type":"ping"}'))
    raw += writer.event(SSEEvent(event="content_block_delta", data='{"type":"x"}'))
    assert [event[":name"] for event in frames(raw)] == ["chunk", "chunk"]
    assert invoked(raw) == [{"type": "ping"}, {"type": "x"}]
    reader = InvokeFrames()
    assert [event.data for byte in raw for event in reader.feed(bytes([byte]))] == ['{"type":"ping"}', '{"type":"x"}']
    assert (reader.close(), reader.end(), reader.has_comments) == ([], b"", False)
    reader.restart()
