"""Events of Realtime in shapes that nobody expects: they are read, or refused, and never end in another error."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxies.llm.realtime.aliases import Aliases
from proxies.llm.realtime.audio import put_audio, take_audio
from proxies.llm.realtime.client_events import check_names, client_messages, client_texts, named_model
from proxies.llm.realtime.from_upstream import item_of, response_of
from proxies.llm.realtime.messages import failed_response
from proxies.llm.realtime.server_stream import RealtimeStream
from proxies.llm.realtime.server_texts import event_texts
from proxies.llm.realtime.transcription import transcribes
from proxies.llm.tool_calls import CallsNotReadable, OpenCalls
from proxies.refusal import Refusal
from proxies.strict_json import dump, parse
from proxies.transport.errors import UpstreamProtocolError
from tests.realtime_provider import AUDIO

NAMES = (
    "type event_id item response session part delta text transcript audio content role output input instructions tools model "
    "arguments name id item_id response_id call_id usage error status object logprobs metadata parameters turn_detection"
).split()
WORDS = (
    "message function_call function_call_output input_text input_audio output_audio audio assistant user system realtime.item "
    "response.created response.done response.output_text.delta response.output_text.done response.output_audio.delta "
    "response.function_call_arguments.delta response.function_call_arguments.done response.output_item.added "
    "response.output_item.done response.content_part.done conversation.item.create conversation.item.done session.update "
    "conversation.item.input_audio_transcription.delta conversation.item.input_audio_transcription.completed error "
    "input_audio_buffer.append"
).split()
leaf = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([*WORDS, AUDIO, "", "a b", '{"a":"b"}']))
values = st.recursive(
    leaf,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=5),
    max_leaves=20,
)
events = st.dictionaries(st.sampled_from(NAMES), values, max_size=7).flatmap(
    lambda event: st.one_of(st.just(event), st.sampled_from(WORDS).map(lambda kind: {**event, "type": kind}))
)


@settings(max_examples=150, deadline=None)
@given(events)
def test_a_client_event_of_any_shape_is_read_or_refused(event: dict[str, Any]) -> None:
    before = dump(event)
    taken = take_audio(event)
    client_texts(event, "/input/0")
    client_messages(event, "/input/0")
    put_audio(taken)
    assert dump(event) == before
    with suppress(Refusal):
        check_names(event)
        named_model(event)
    Aliases().give(event)
    assert isinstance(event["event_id"], str)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=8))
def test_events_of_a_provider_of_any_shape_are_read(said: list[dict[str, Any]]) -> None:
    stream, calls = RealtimeStream(), OpenCalls()
    for event in said:
        take_audio(event)
        reading = stream.read(None, event)
        for piece in reading.pieces:
            assert parse(stream.delta(piece.key, "rest").data.encode())["delta"] == "rest"
        assert all(isinstance(text.text, str) for text in [*reading.texts, *reading.decoded, *reading.reread])
        event_texts(event)
        with suppress(UpstreamProtocolError):
            assert len(item_of(event)) <= 200
            assert len(response_of(event)) <= 200
        transcribes(event.get("session"))
        Aliases().restore(event)
        failed_response(Refusal(403, "x", "y"), "r", event.get("usage"))
        try:
            calls.read(event)
        except CallsNotReadable:
            calls = OpenCalls()
