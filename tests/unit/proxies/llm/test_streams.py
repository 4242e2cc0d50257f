"""What the interpreters read from single events, beyond what the SDK tests walk through."""

from __future__ import annotations

import json
from typing import Any

from proxies.answer_texts import Piece
from proxies.llm.errors import stream_event
from proxies.llm.interpreters import interpreter
from proxies.llm.running_texts import Reading, RunningTexts
from proxies.llm.streams import AnthropicStream, ChatStream, ResponsesStream
from proxies.llm.surfaces import Surface, find_route, speaks_anthropic, upstream_path
from proxies.refusal import Refusal
from proxies.transport.headers import Headers
from rules.model import Target

ESCAPED = json.dumps({"command": 'sh -c "ls"'})


def said(reading: Reading) -> list[tuple[str, str]]:
    return [(piece.key, piece.text) for piece in reading.pieces]


def chunk(delta: Any = None, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


def test_chat_choices_interleave_and_tool_calls_run_by_index() -> None:
    stream = ChatStream()
    assert said(stream.read(None, chunk({"content": "a"}))) == [("0.content", "a")]
    assert said(stream.read(None, chunk({"content": "b", "reasoning_content": "r"}, index=1))) == [
        ("1.content", "b"),
        ("1.reasoning_content", "r"),
    ]
    first = {"tool_calls": [{"index": 0, "function": {"name": "run", "arguments": ESCAPED[:9]}}]}
    reading = stream.read(None, chunk(first))
    assert said(reading) == [("0.tool.0", ESCAPED[:9])]
    assert [(text.target, text.text) for text in reading.texts] == [(Target.TOOL_NAME, "run")]
    stream.read(None, chunk({"tool_calls": [{"index": 0, "function": {"arguments": ESCAPED[9:]}}]}))
    end = stream.read(None, chunk({}, finish="tool_calls"))
    assert sorted(end.ended) == ["0.content", "0.tool.0"]
    assert [(text.target, text.text) for text in end.decoded] == [(Target.TOOL_ARGS, 'sh -c "ls"')]


def test_chat_reads_members_that_no_shape_names() -> None:
    stream = ChatStream()
    reading = stream.read(None, {**chunk({"audio": {"transcript": "t"}, "odd": ["x"]}, note="y"), "hidden": "z"})
    assert said(reading) == [("0.audio", "t")]
    assert {text.text for text in reading.texts} == {"x", "y", "z"}
    legacy = stream.read(None, chunk({"function_call": {"name": "f", "arguments": "{}"}}))
    assert said(legacy) == [("0.function_call", "{}")]
    assert [t.text for t in stream.read(None, chunk({"tool_calls": ["odd"]})).texts] == ["odd"]
    assert stream.read(None, {"choices": ["odd"]}).pieces == []


def test_completions_have_their_text_in_the_choice() -> None:
    stream = ChatStream()
    reading = stream.read(None, {"id": "c", "choices": [{"index": 1, "text": "a", "note": "x", "finish_reason": None}]})
    assert said(reading) == [("1.text", "a")]
    assert [text.text for text in reading.texts] == ["x"]
    odd = stream.read(None, {"choices": [{"index": 0, "text": ["b"]}]})
    assert [text.text for text in odd.texts] == ["b"]
    chunk = json.loads(stream.delta("1.text", "held").data)["choices"]
    assert chunk == [{"index": 1, "text": "held", "finish_reason": None}]
    assert stream.read(None, {"choices": [{"index": 1, "text": "", "finish_reason": "stop"}]}).ended == ["1.text"]


def test_chat_recognises_the_chunk_that_exists_for_usage_only() -> None:
    stream = ChatStream()
    assert not stream.read(None, {"choices": [], "prompt_filter_results": []}).is_usage_only
    assert stream.read(None, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).is_usage_only
    assert stream.usage is not None
    assert stream.usage.input_tokens == 3


def test_responses_recognises_repeated_text_and_inspects_text_that_differs() -> None:
    stream = ResponsesStream()
    where = {"item_id": "m", "output_index": 0, "content_index": 0}
    stream.read(None, {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_9", "output": []}})
    for piece in ("hel", "lo"):
        stream.read(None, {"type": "response.output_text.delta", **where, "delta": piece})
    done = stream.read(None, {"type": "response.output_text.done", **where, "text": "hello"})
    assert done.texts == []
    assert len(done.ended) == 1
    item = {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}
    assert stream.read(None, {"type": "response.output_item.done", "item": item}).texts == []
    liar = {"type": "message", "content": [{"type": "output_text", "text": "something else"}]}
    reading = stream.read(None, {"type": "response.output_item.done", "item": liar})
    assert [text.text for text in reading.texts] == ["something else"]
    end = stream.read(None, {"type": "response.completed", "sequence_number": 8, "response": {"output": [item, liar]}})
    assert end.is_end
    assert [text.text for text in end.texts] == ["something else"]
    assert (stream.response_id, stream.sequence) == ("resp_9", 9)


def test_responses_arguments_are_read_decoded_when_they_are_done() -> None:
    stream = ResponsesStream()
    where = {"item_id": "f", "output_index": 1}
    delta = stream.read(None, {"type": "response.function_call_arguments.delta", **where, "delta": ESCAPED})
    assert [piece.target for piece in delta.pieces] == [Target.TOOL_ARGS]
    done = stream.read(None, {"type": "response.function_call_arguments.done", **where, "arguments": ESCAPED})
    assert [(text.target, text.text) for text in done.texts] == [(Target.TOOL_ARGS, 'sh -c "ls"')]
    summary = stream.read(None, {"type": "response.reasoning_summary_text.delta", "delta": "s", "summary_index": 0})
    assert [piece.target for piece in summary.pieces] == [Target.COMPLETION]
    shell = stream.read(None, {"type": "response.shell_call_command.delta", "delta": "ls"})
    assert [piece.target for piece in shell.pieces] == [Target.TOOL_ARGS]
    assert stream.read(None, {"type": "response.audio.delta", "delta": "AAAA"}).pieces == []


def test_responses_ends_what_was_left_open_and_reads_unknown_events() -> None:
    stream = ResponsesStream()
    stream.read(None, {"type": "response.custom_tool_call_input.delta", "item_id": "c", "delta": ESCAPED})
    end = stream.read(None, {"type": "response.incomplete", "response": {"error": {"message": "why"}, "usage": None}})
    assert end.is_end
    assert {text.text for text in end.texts} == {"why"}
    assert {text.text for text in end.reread} == {'sh -c "ls"'}
    odd = stream.read(None, {"type": "error", "message": "oops", "code": "c"})
    assert {text.text for text in odd.texts} == {"oops", "c"}
    assert stream.read(None, {"type": "response.created", "response": "odd"}).texts == []


def test_anthropic_blocks_run_by_index_and_unknown_events_are_read() -> None:
    stream = AnthropicStream()
    start = {
        "type": "message_start",
        "message": {"content": [{"type": "text", "text": "pre"}], "usage": {"input_tokens": 5}},
    }
    assert [text.text for text in stream.read(None, start).texts] == ["pre"]
    begin = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "name": "run", "input": {}},
    }
    assert [text.target for text in stream.read(None, begin).texts] == [Target.TOOL_NAME]
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ESCAPED}}
    assert said(stream.read(None, delta)) == [("0.partial_json", ESCAPED)]
    signature = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "AAA"}}
    assert said(stream.read(None, signature)) == []
    citation = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "citations_delta", "citation": {"title": "t"}},
    }
    assert [text.text for text in stream.read(None, citation).texts] == ["t"]
    stop = stream.read(None, {"type": "content_block_stop", "index": 0})
    assert stop.ended == ["0.partial_json"]
    assert [text.text for text in stop.decoded] == ['sh -c "ls"']
    stream.read(None, {"type": "message_delta", "usage": {"output_tokens": 9, "input_tokens": None}})
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (5, 9)
    assert stream.read(None, {"type": "message_stop"}).is_end
    why = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "halt"}}
    assert [(text.path, text.text) for text in stream.read(None, why).texts] == [("/delta/stop_sequence", "halt")]
    stop = stream.read(None, {"type": "message_stop", "note": "hidden", "amazon-bedrock-invocationMetrics": {"n": 1}})
    assert [text.text for text in stop.texts] == ["hidden"]
    odd = stream.read(None, {"type": "error", "error": {"message": "hidden"}})
    assert "hidden" in {text.text for text in odd.texts}
    assert stream.read(None, {"type": "content_block_delta", "delta": "odd"}).pieces == []
    assert stream.read(None, {"type": "message_start", "message": "odd"}).texts == []


def test_interpreters_and_routes_by_surface() -> None:
    assert isinstance(interpreter(Surface.OPENAI_CHAT), ChatStream)
    assert interpreter(Surface.MODELS) is None
    found = find_route("POST", "/chat/completions")
    assert found is not None
    assert (found.surface, found.path) == (Surface.OPENAI_CHAT, "/v1/chat/completions")
    for method, path in [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("POST", "/v1/v1/messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/V1/messages"),
        ("GET", "/v1/models/.."),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models/%2e%2e"),
        ("GET", "/v1/responses/resp_1"),
    ]:
        assert find_route(method, path) is None, (method, path)
    assert find_route("GET", "/v1/models/gpt-x") is not None
    assert upstream_path("/v1/messages", "/v1/") == "/messages"
    assert upstream_path("/v1/messages", "/base") == "/v1/messages"
    assert speaks_anthropic("/v1/other", Headers([("anthropic-version", "2023-06-01")]))
    assert not speaks_anthropic("/v1/responses", Headers([]))


def test_LLM_ERR_2_the_error_that_ends_a_stream_has_the_shape_of_its_api() -> None:
    refusal = Refusal(403, "blocked_by_policy", "Blocked.", outcome="blocked")
    chat = stream_event(Surface.OPENAI_CHAT, refusal, "call_1", "", 0)
    assert chat.event is None
    assert json.loads(chat.data)["error"]["code"] == "blocked_by_policy"
    failed = stream_event(Surface.OPENAI_RESPONSES, refusal, "call_1", "resp_1", 7)
    assert failed.event == "response.failed"
    assert json.loads(failed.data)["sequence_number"] == 7
    anthropic = stream_event(Surface.ANTHROPIC_MESSAGES, refusal, "call_1", "", 0)
    assert anthropic.event == "error"
    assert json.loads(anthropic.data)["request_id"] == "call_1"


def test_RED_STR_8_a_stream_without_end_keeps_nothing_of_texts_that_have_ended() -> None:
    chat, responses, anthropic = ChatStream(), ResponsesStream(), AnthropicStream()
    junk = "x" * 10_000
    for number in range(300):
        where = {"item_id": f"msg_{number}", "output_index": number, "content_index": 0}
        responses.read(None, {"type": "response.output_text.delta", **where, "delta": "a", "junk": junk})
        assert "junk" not in responses.delta(next(iter(responses._last)), "b").data
        responses.read(None, {"type": "response.output_text.done", **where, "text": "a"})
        anthropic.read(
            None, {"type": "content_block_delta", "index": number, "delta": {"type": "text_delta", "text": "a"}}
        )
        anthropic.read(None, {"type": "content_block_stop", "index": number, "junk": junk})
        choice = {"index": number, "delta": {"content": "a"}, "finish_reason": "stop"}
        chat.read(None, {"choices": [choice]})
        assert len(responses._last) <= 1
        assert len(anthropic._last) <= 1
        assert len(chat._shapes) <= 1


def test_RED_STR_8_arguments_that_are_read_again_are_bounded_together() -> None:
    texts = RunningTexts()
    for number in range(40):
        text = '{"a":"\\u0041' + "b" * 200_000 + '"}'
        texts.add(Piece(f"{number}", Target.TOOL_ARGS, "/a", text, mode="arguments"))
    assert sum(len(piece) for pieces in texts._arguments.values() for piece in pieces) <= 4 * 1024 * 1024
    reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
    for number in range(40):
        texts.end(f"{number}", "/a", reading)
    assert 15 < len(reading.decoded) < 40
    assert texts._kept_characters == 0
