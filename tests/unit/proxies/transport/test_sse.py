"""LIM-17, G-08, LLM-HTTP-2: server-sent events, whatever the line ends and wherever the reads are cut."""

from __future__ import annotations

import pytest

from proxies.transport.sse import KEEPALIVE, SSEEvent, SSEParser, SSETooLarge, encode_event

STREAM = (
    "\ufeffevent: message_start\ndata: {\"a\": 1}\n\n"
    ": a comment\n\n"
    "id: 7\r\ndata: first\r\ndata:second\r\n\r\n"
    "retry: 1500\rdata:  two blanks\r\r"
    "unknown: field\ndata\n\n"
    "id: only-an-id\n\n"
    "data: Zürich 🌍\n\n"
    "data: [DONE]\n\n"
).encode()  # fmt: skip

EVENTS = [
    SSEEvent(event="message_start", data='{"a": 1}'),
    SSEEvent(id="7", data="first\nsecond"),
    SSEEvent(retry=1500, data=" two blanks"),
    SSEEvent(data=""),
    SSEEvent(id="only-an-id", data="", has_data=False),
    SSEEvent(data="Zürich 🌍"),
    SSEEvent(data="[DONE]"),
]


def parse(*pieces: bytes, limit: int = 4096) -> list[SSEEvent]:
    parser = SSEParser(limit)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


def test_LIM_17_whole_stream() -> None:
    assert parse(STREAM) == EVENTS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_LIM_17_every_split_gives_the_same_events(line_end: bytes) -> None:
    stream = STREAM.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", line_end)
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == EVENTS, f"cut at {cut}"
    assert parse(*[bytes([byte]) for byte in stream]) == EVENTS


def test_LIM_17_mixed_line_ends_at_every_split() -> None:
    for cut in range(len(STREAM) + 1):
        assert parse(STREAM[:cut], STREAM[cut:]) == EVENTS, f"cut at {cut}"


def test_LIM_17_a_lone_cr_completes_the_event_at_once() -> None:
    parser = SSEParser(100)
    assert parser.feed(b"data: x\r\r") == [SSEEvent(data="x")]
    assert parser.feed(b"\ndata: y\n\n") == [SSEEvent(data="y")]


def test_LIM_17_an_event_cut_off_by_the_end_is_passed_on() -> None:
    assert parse(b"data: whole\n\ndata: cut") == [SSEEvent(data="whole"), SSEEvent(data="cut")]
    assert parse(b"data: line\n") == [SSEEvent(data="line")]
    assert parse(b"data: done\n\n") == [SSEEvent(data="done")]


def test_LIM_17_malformed_fields_are_ignored() -> None:
    assert parse(b"id: a\0b\nretry: -1\nretry: 99999999999\nfoo\n: c\n\n") == []


def test_LIM_17_invalid_utf8_is_replaced() -> None:
    assert parse(b"data: a\xff\xfeb\n\n") == [SSEEvent(data="a\ufffd\ufffdb")]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 2000],
        [b"data: " + b"x" * 100] * 12,
        [b"data: x\n" * 300],
        [b"data: " + b"x" * 2000 + b"\n\n"],
    ],
)
def test_LIM_17_oversize_event_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(SSETooLarge):
        parse(*pieces, limit=1000)


def test_LIM_17_the_bound_is_per_event() -> None:
    assert len(parse(*[b"data: " + b"x" * 900 + b"\n\n"] * 50, limit=1000)) == 50


def test_G_08_written_events_read_back_the_same() -> None:
    for event in EVENTS:
        assert parse(encode_event(event)) == [event]
    assert encode_event(SSEEvent(event="e", data="a\r\nb\rc", id="1", retry=5)) == (
        b"event: e\nid: 1\nretry: 5\ndata: a\ndata: b\ndata: c\n\n"
    )
    assert parse(KEEPALIVE) == []


@pytest.mark.parametrize("event", [SSEEvent(event="a\nb"), SSEEvent(id="a\rb"), SSEEvent(id="a\0b")])
def test_G_08_a_field_cannot_smuggle_a_line(event: SSEEvent) -> None:
    with pytest.raises(ValueError, match="single line"):
        encode_event(event)
