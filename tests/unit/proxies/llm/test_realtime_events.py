"""What is read in the events of Realtime, on both sides, beyond what connections walk through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxies.answer_texts import Piece
from proxies.llm.realtime.aliases import MAX_ALIASES, Aliases
from proxies.llm.realtime.audio import audio_places, put_audio, take_audio
from proxies.llm.realtime.client_events import check_names, client_messages, client_texts, named_model
from proxies.llm.realtime.messages import error_event, failed_response
from proxies.llm.realtime.server_stream import RealtimeStream
from proxies.llm.realtime.server_texts import event_texts
from proxies.llm.realtime.turns import MAX_SAID, Said
from proxies.llm.realtime.upstream import read_query
from proxies.llm.usage import openai_usage
from proxies.refusal import Refusal
from rules.model import Target
from tests.realtime_provider import AUDIO, REALTIME_USAGE, call_item, done, heard, message_item, response

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "MARK"}]}
TOOL = {
    "type": "function",
    "name": "MARK-NAME",
    "description": "MARK",
    "parameters": {"properties": {"a": {"title": "MARK"}}},
}

CLIENT_EVENTS: list[tuple[dict[str, Any], Target]] = [
    ({"type": "conversation.item.create", "item": USER}, Target.PROMPT),
    ({"type": "conversation.item.create", "item": {**USER, "role": "system"}}, Target.SYSTEM_PROMPT),
    (
        {
            "type": "conversation.item.create",
            "item": {"role": "assistant", "content": [{"type": "output_text", "text": "MARK"}]},
        },
        Target.COMPLETION,
    ),
    (
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": "MARK"}},
        Target.TOOL_RESULT,
    ),
    (
        {"type": "conversation.item.create", "item": {"type": "function_call", "arguments": '{"a": "MARK"}'}},
        Target.TOOL_ARGS,
    ),
    ({"type": "conversation.item.create", "item": "MARK"}, Target.PROMPT),
    ({"type": "session.update", "session": {"instructions": "MARK"}}, Target.SYSTEM_PROMPT),
    ({"type": "session.update", "session": {"tools": [TOOL]}}, Target.TOOL_DESCRIPTION),
    ({"type": "session.update", "session": {"audio": {"input": {"transcription": {"prompt": "MARK"}}}}}, Target.PROMPT),
    ({"type": "session.update", "session": {"prompt": {"id": "p", "variables": {"a": "MARK"}}}}, Target.PROMPT),
    ({"type": "session.update", "session": "MARK"}, Target.PROMPT),
    ({"type": "response.create", "response": {"instructions": "MARK"}}, Target.SYSTEM_PROMPT),
    ({"type": "response.create", "response": {"input": [USER]}}, Target.PROMPT),
    ({"type": "response.create", "response": {"metadata": {"a": "MARK"}}}, Target.PROMPT),
    ({"type": "something.new", "deep": [{"er": "MARK"}]}, Target.PROMPT),
]


@pytest.mark.parametrize(("event", "target"), CLIENT_EVENTS)
def test_LLM_SRF_3_every_text_of_a_client_event_is_read(event: dict[str, Any], target: Target) -> None:
    found = [text for text in client_texts(event, "/input/3") if text.text == "MARK"]
    assert found
    assert target in {text.target for text in found}
    assert all(text.path.startswith("/input/3/") for text in found)


def test_names_of_events_items_and_types_are_no_texts() -> None:
    event = {"type": "conversation.item.delete", "event_id": "MARK", "item_id": "item_1"}
    assert client_texts(event, "/input/0") == []


@pytest.mark.parametrize(
    "event",
    [
        {"item_id": "ann@example.com"},
        {"previous_item_id": 7},
        {"response_id": "x" * 201},
        {"item": {"id": "two words"}},
        {"item": {"call_id": {"a": 1}}},
        {"response": {"input": [{"id": "é"}]}},
    ],
)
def test_what_is_no_name_does_not_pass_as_one(event: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="invalid_id"):
        check_names(event)
    check_names({"item_id": "item_A-1.b:c", "previous_item_id": None, "item": "x", "response": {"input": "x"}})


def test_AG_PE_7_messages_and_calls_of_an_event_are_those_of_its_items() -> None:
    event = {"item": USER, "response": {"instructions": "x", "input": [USER, call_item('{"to": "a"}')]}}
    messages, calls = client_messages(event, "/input/2")
    assert [(message.role, message.path) for message in messages] == [
        ("user", "/input/2/item"),
        ("system", "/input/2/response/instructions"),
        ("user", "/input/2/response/input/0"),
        ("assistant", "/input/2/response/input/1"),
    ]
    assert [(call.name, call.arguments) for call in calls] == [("send", {"to": "a"})]
    assert named_model({"session": {"model": "m"}}) == "m"
    assert named_model({"session": 1, "response": {"model": None}}) == ""
    for two in ({"session": {"model": "a"}, "response": {"model": "b"}}, {"response": {"model": 7}}):
        with pytest.raises(Refusal, match="invalid_model"):
            named_model(two)


def test_LLM_RT_2_audio_is_taken_out_where_it_stands_and_nowhere_else() -> None:
    spoken = {"type": "input_audio", "audio": AUDIO, "transcript": "hello"}
    events: list[dict[str, Any]] = [
        {"type": "input_audio_buffer.append", "audio": AUDIO},
        {"type": "response.output_audio.delta", "delta": AUDIO},
        {"type": "response.audio.delta", "delta": AUDIO},
        {"type": "conversation.item.create", "item": {"content": [spoken]}},
        {"type": "response.create", "response": {"input": [{"content": [spoken]}]}},
        {"type": "response.done", "response": {"output": [{"content": [{"type": "output_audio", "audio": AUDIO}]}]}},
        {"type": "response.content_part.done", "part": {"type": "audio", "audio": AUDIO}},
    ]
    for event in events:
        before = json.dumps(event)
        taken = take_audio(event)
        assert AUDIO not in json.dumps(event)
        put_audio(taken)
        assert json.dumps(event) == before
    for event in (
        {"type": "conversation.item.create", "item": {"content": [{"type": "input_text", "audio": AUDIO}]}},
        {"type": "response.output_text.delta", "delta": AUDIO},
        {"type": "input_audio_buffer.append", "audio": "not base64!"},
        {"type": "input_audio_buffer.append", "audio": {"a": AUDIO}},
        {"type": "session.update", "audio": AUDIO, "session": {"audio": {}}},
        {"type": ["input_audio_buffer.append"], "audio": AUDIO},
        {"item": 1, "response": {"input": 1, "output": [1]}, "part": 1},
    ):
        assert list(audio_places(event)) == []


def _pieces(events: list[dict[str, Any]]) -> dict[tuple[Target, bool], str]:
    stream, joined = RealtimeStream(), {}
    for event in events:
        for piece in stream.read(None, event).pieces:
            key = piece.target, piece.restorable
            joined[key] = joined.get(key, "") + piece.text
    return joined


def test_LLM_SRF_3_what_is_said_and_called_is_told_apart() -> None:
    assert _pieces(response("Hello you.", arguments='{"a": "b"}')) == {
        (Target.COMPLETION, True): "Hello you.",
        (Target.TOOL_ARGS, True): '{"a": "b"}',
    }
    assert _pieces(response("Hello you.", spoken=True))[Target.COMPLETION, True].replace(AUDIO, "") == "Hello you."
    old = {"type": "response.audio_transcript.delta", "response_id": "r", "item_id": "i", "delta": "old name"}
    hosted = {"type": "response.mcp_call_arguments.delta", "response_id": "r", "item_id": "i", "delta": "{}"}
    assert _pieces([old, hosted]) == {(Target.COMPLETION, True): "old name", (Target.TOOL_ARGS, False): "{}"}


def test_RED_STR_2_what_is_said_again_is_not_read_twice() -> None:
    stream, texts = RealtimeStream(), []
    for event in response("Hello you.", arguments='{"a": "b"}'):
        texts += [text.text for text in stream.read(None, event).texts]
    assert set(texts) <= {"send", "", "b"}
    assert stream.usage == openai_usage(REALTIME_USAGE)


def test_a_text_that_differs_from_its_pieces_is_read_as_new() -> None:
    stream = RealtimeStream()
    *events, end = response("Hello you.")
    for event in events:
        stream.read(None, event)
    end["response"]["output"] = [message_item("Something else.")]
    assert [text.text for text in stream.read(None, end).texts] == ["Something else."]


def test_LLM_SRF_3_every_other_text_of_a_response_is_read() -> None:
    odd = done([], status="failed")
    odd["response"] |= {"status_details": {"error": {"message": "MARK1"}}, "metadata": {"a": "MARK2"}, "new": "MARK3"}
    found = [text.text for text in RealtimeStream().read(None, odd).texts]
    assert found == ["MARK1", "MARK2", "MARK3"]
    other = {
        "type": "mcp_list_tools.failed",
        "event_id": "e",
        "item_id": "i",
        "why": "MARK",
        "name": "n",
        "part": "MARK",
    }
    assert [text.text for text in event_texts(other)] == ["MARK", "n", "MARK"]


def test_LLM_RT_2_a_transcript_is_one_text_however_its_events_name_its_place() -> None:
    *deltas, end = heard("Hello.", size=2)
    del deltas[0]["content_index"]
    stream = RealtimeStream()
    keys = {piece.key for event in deltas for piece in stream.read(None, event).pieces}
    assert len(keys) == 1
    reading = stream.read(None, end)
    assert reading.ended == list(keys)
    assert reading.texts == []
    assert reading.is_end
    failed = {"type": end["type"].replace("completed", "failed"), "item_id": "x", "error": {"message": "MARK"}}
    assert [text.text for text in RealtimeStream().read(None, failed).texts] == ["MARK"]


def test_RED_STR_4_a_delta_of_the_gateway_has_a_name_of_its_own() -> None:
    stream = RealtimeStream()
    event = {
        "type": "response.output_text.delta",
        "event_id": "e",
        "item_id": "i",
        "delta": "a",
        "obfuscation": "x",
        "logprobs": [1],
    }
    (piece,) = stream.read(None, event).pieces
    assert isinstance(piece, Piece)
    made = [json.loads(stream.delta(piece.key, "rest").data) for _ in range(2)]
    assert made[0]["event_id"] != made[1]["event_id"] != "e"
    assert made[0] | {"event_id": ""} == {
        "type": "response.output_text.delta",
        "event_id": "",
        "item_id": "i",
        "delta": "rest",
        "logprobs": [],
    }


def test_names_of_events_are_kept_for_errors_and_bounded() -> None:
    aliases = Aliases()
    event: dict[str, Any] = {"type": "a", "event_id": "mine"}
    assert aliases.give(event) == "mine"
    error = {"error": {"event_id": event["event_id"]}}
    assert aliases.restore(error) == event["event_id"] != "mine"
    assert error["error"]["event_id"] == "mine"
    for _ in range(MAX_ALIASES):
        assert aliases.give({"event_id": 7}) == ""
    forgotten = {"error": {"event_id": event["event_id"]}}
    aliases.restore(forgotten)
    assert forgotten["error"]["event_id"] is None
    assert aliases.restore({"error": "x"}) == aliases.restore({"error": {"event_id": None}}) == ""


def test_what_was_said_is_known_by_digest_and_bounded() -> None:
    said = Said()
    said.add("first")
    assert "first" in said
    for number in range(MAX_SAID):
        said.add(str(number))
    assert "first" not in said
    assert "0" in said


def test_LLM_ERR_2_an_error_event_says_what_the_client_needs_and_the_end_of_a_response_what_it_cost() -> None:
    refusal = Refusal(403, "blocked_by_policy", "Blocked: X.", remediation="Ask.", outcome="blocked")
    event = json.loads(error_event(refusal, "call_1", "event_7"))
    assert event["type"] == "error"
    assert event["error"]["event_id"] == "event_7"
    assert (event["error"]["type"], event["error"]["request_id"]) == ("policy_violation", "call_1")
    usage = {**REALTIME_USAGE, "note": "hidden text", "input_token_details": {"cached_tokens": 4, "x": "hidden"}}
    end = json.loads(failed_response(refusal, "resp_1", usage))
    assert end["response"]["usage"]["input_token_details"] == {"cached_tokens": 4}
    assert "hidden" not in json.dumps(end)
    assert json.loads(failed_response(refusal, "r", None))["response"]["usage"] is None


@pytest.mark.parametrize(
    "query",
    ["model=a&x=%ff", "&".join(f"a{n}=1" for n in range(30)), "model=a&model=b", "model=a&deployment=b", "api-key=x"],
)
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(Refusal, match="invalid_query"):
        read_query(query)
