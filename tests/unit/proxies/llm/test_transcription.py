"""Whether a Realtime session transcribes what it hears, known from what both sides say."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.llm.realtime.transcription import MAX_UNANSWERED, Transcription, stops_transcribing, transcribes

ON: dict[str, Any] = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
OFF: dict[str, Any] = {"audio": {"input": {"transcription": None}}}


@pytest.mark.parametrize(
    ("session", "stops"),
    [
        (OFF, True),
        (ON, False),
        ({"instructions": "x"}, False),
        ({"audio": {"input": {"turn_detection": None}}}, False),
        ({"audio": {"output": {}}}, False),
        ({"audio": None}, True),
        ({"audio": {"input": None}}, True),
        ({"input_audio_transcription": None}, True),
        ({"input_audio_transcription": {"model": "whisper-1"}}, False),
        ({**ON, "input_audio_transcription": None}, True),
        (None, False),
    ],
)
def test_an_update_stops_it_by_what_it_names(session: Any, stops: bool) -> None:
    assert stops_transcribing({"type": "session.update", "session": session}) is stops


def test_both_forms_of_settings_are_known() -> None:
    assert transcribes(ON)
    assert transcribes({"input_audio_transcription": {"model": "whisper-1"}})
    assert not any(map(transcribes, (OFF, {}, None, {"audio": []})))


def test_a_request_to_stop_counts_before_it_is_confirmed_and_a_refused_one_no_more() -> None:
    known = Transcription()
    known.heard("session.created", ON)
    assert known.is_on
    known.ask("a", {"session": {"instructions": "x"}})
    known.ask("b", {"session": OFF})
    known.heard("session.updated", ON)
    assert not known.is_on, "the older one was confirmed"
    known.refused("b")
    assert known.is_on
    known.refused("none")


def test_a_provider_that_never_answers_leaves_it_unknown() -> None:
    known = Transcription()
    known.heard("session.created", ON)
    for number in range(MAX_UNANSWERED + 1):
        known.ask(str(number), {"session": {}})
    assert not known.is_on
    known.heard("session.updated", ON)
    assert not known.is_on
