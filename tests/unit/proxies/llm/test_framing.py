"""How streams are cut into events and written again, whatever the network made of them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.llm.bedrock_frames import ConverseFrames
from proxies.llm.framing import MAX_EVENT_BYTES, JSONArray, JSONLines, ServerSentEvents
from proxies.llm.interpreters import Framing
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.sse import SSEEvent
from tests.bedrock_replies import frame

VALUES = [{"message": {"content": "é 🙂"}, "done": False}, {"a": [1, "\u2028"]}, {"done": True}]
LINES = b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in VALUES)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def read(framing: Framing, pieces: list[bytes]) -> list[SSEEvent]:
    return [event for piece in pieces for event in framing.feed(piece)] + framing.close()


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_RED_STR_6_lines_are_the_same_however_they_are_cut(places: list[int]) -> None:
    events = read(JSONLines(), cut(LINES, places))
    assert [json.loads(event.data) for event in events] == VALUES
    writer = JSONLines()
    assert b"".join(map(writer.event, events)) + writer.end() == LINES


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_RED_STR_6_frames_are_the_same_however_they_are_cut(places: list[int]) -> None:
    raw = b"".join(frame("contentBlockDelta", value) for value in VALUES)
    events = read(ConverseFrames(), cut(raw, places))
    assert [(event.event, json.loads(event.data)) for event in events] == [("contentBlockDelta", one) for one in VALUES]
    assert b"".join(map(ConverseFrames().event, events)) == raw


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b'\n\r\n{"a":1}\r\n\n', ['{"a":1}']),
        (b'{"a":1}', ['{"a":1}']),
        (b'{"a":1}\n{"b', ['{"a":1}', '{"b']),
        (b"\xff\n", ["\ufffd"]),
    ],
)
def test_lines_may_be_empty_unfinished_or_broken(data: bytes, expected: list[str]) -> None:
    assert [event.data for event in read(JSONLines(), [data])] == expected


@pytest.mark.parametrize("make", [JSONLines, ServerSentEvents, JSONArray])
def test_LIM_17_an_event_without_end_is_refused(make: type[Framing]) -> None:
    reader = make()
    with pytest.raises(UpstreamProtocolError):
        reader.feed(b"data: " + b"x" * MAX_EVENT_BYTES)


def test_an_array_is_closed_and_begins_again_when_nothing_of_it_went_out() -> None:
    array, event = JSONArray(), SSEEvent(data="1")
    assert array.end() == b"[]"
    assert array.event(event) + array.event(event) + array.end() == b"[1,\r\n1]"
    array.restart()
    assert array.event(event) == b"[1"


def test_only_server_sent_events_have_comments() -> None:
    assert [made.has_comments for made in (ServerSentEvents(), JSONArray(), JSONLines())] == [True, False, False]
    for made in (ServerSentEvents(), JSONLines()):
        made.restart()
        assert made.end() == b""
