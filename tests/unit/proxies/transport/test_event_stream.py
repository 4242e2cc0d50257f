"""Frames of the AWS event stream, held against published vectors, the AWS SDK's parser, and every damaged bit."""

from __future__ import annotations

import struct
from itertools import pairwise
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from proxies.transport.event_stream import Frame, FrameParser, FrameRefused, encode_frame

MAX_BYTES = 10_000
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
ONE_HEADER = (
    bytes.fromhex("0000003d0000002007fd8396")
    + b"\x0ccontent-type\x07\x00\x10application/json"
    + b"{'foo':'bar'}"
    + bytes.fromhex("8d9c08b1")
)
"""As the test suite of the AWS SDKs publishes them."""
HEADERS = {":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "application/json"}
names = st.text(min_size=1, max_size=40)


def framed(fields: bytes, payload: bytes = b"", *, headers_bytes: int | None = None, total: int | None = None) -> bytes:
    """A frame around raw header fields, with lengths that may lie and checksums that are right."""
    prelude = struct.pack(
        "!II",
        16 + len(fields) + len(payload) if total is None else total,
        len(fields) if headers_bytes is None else headers_bytes,
    )
    body = prelude + struct.pack("!I", crc32(prelude)) + fields + payload
    return body + struct.pack("!I", crc32(body))


def read(data: bytes, places: list[int] | None = None) -> list[Frame]:
    parser = FrameParser(MAX_BYTES)
    bounds = [0, *sorted(place % (len(data) + 1) for place in places or []), len(data)]
    frames = [frame for start, end in pairwise(bounds) for frame in parser.feed(data[start:end])]
    parser.close()
    return frames


def test_LLM_BDR_2_published_frames_are_read_and_written() -> None:
    assert read(EMPTY + ONE_HEADER) == [
        Frame({}, b""),
        Frame({"content-type": "application/json"}, b"{'foo':'bar'}"),
    ]
    assert encode_frame({}, b"") == EMPTY
    assert encode_frame({"content-type": "application/json"}, b"{'foo':'bar'}") == ONE_HEADER


@given(st.dictionaries(names, st.text(max_size=200), max_size=5), st.binary(max_size=500), st.lists(st.integers(0)))
def test_LLM_BDR_2_what_is_written_is_read_by_both_parsers_however_it_is_cut(
    headers: dict[str, str], payload: bytes, places: list[int]
) -> None:
    raw = encode_frame(headers, payload)
    assert read(raw + EMPTY + raw, places) == [Frame(headers, payload), Frame({}, b""), Frame(headers, payload)]
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    (theirs,) = buffer
    assert (theirs.headers, theirs.payload) == (headers, payload)


def test_LLM_BDR_2_no_damaged_bit_gets_through() -> None:
    raw = encode_frame(HEADERS, b'{"delta":{"text":"x"}}')
    for bit in range(len(raw) * 8):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameRefused):
            read(bytes(damaged))


def test_headers_of_other_types_are_passed_over() -> None:
    fields = (
        b"\x01a\x00\x01b\x01\x01c\x02\x7f\x01d\x03\x00\x01\x01e\x04\x00\x00\x00\x01\x01f\x05"
        + bytes(8)
        + b"\x01g\x06\x00\x02\xff\xfe\x01h\x08"
        + bytes(8)
        + b"\x01i\x09"
        + bytes(16)
        + b"\x01j\x07\x00\x01x"
    )
    assert read(framed(fields, b"p")) == [Frame({"j": "x"}, b"p")]


@pytest.mark.parametrize(
    "raw",
    [
        framed(b"\x01a\x07\x00\x01x\x01a\x07\x00\x01y"),
        framed(b"\x01a\x00\x01a\x07\x00\x01y"),
        framed(b"\x00\x07\x00\x01x"),
        framed(b"\x01a\x0a"),
        framed(b"\x01a"),
        framed(b"\x05a\x07\x00\x01x"),
        framed(b"\x01a\x07\x00\x05x"),
        framed(b"\x01a\x07\x00"),
        framed(b"\x01a\x05\x00"),
        framed(b"\x01\xff\x07\x00\x01x"),
        framed(b"\x01a\x07\x00\x01\xff"),
        framed(b"", headers_bytes=1),
        framed(b"", total=15),
        framed(b"", total=0),
        framed(b"", total=MAX_BYTES + 1),
        framed(b"", total=2**32 - 1, headers_bytes=2**32 - 1),
        framed(b"", total=MAX_BYTES, headers_bytes=128 * 1024 + 1),
        EMPTY[:-1],
        EMPTY + b"\0",
    ],
)
def test_LLM_BDR_2_what_two_readers_could_take_for_different_things_is_refused(raw: bytes) -> None:
    with pytest.raises(FrameRefused):
        read(raw)


def test_LIM_17_a_length_is_refused_before_its_bytes_come() -> None:
    prelude = struct.pack("!II", MAX_BYTES + 1, 0)
    with pytest.raises(FrameRefused):
        FrameParser(MAX_BYTES).feed(prelude + struct.pack("!I", crc32(prelude)))


@pytest.mark.parametrize("headers", [{"": "x"}, {"é" * 128: "x"}, {"a": "x" * 32_768}])
def test_a_header_that_has_no_place_is_not_written(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_frame(headers, b"")
