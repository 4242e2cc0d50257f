"""Properties of the pure parts: what the guard accepts every reader reads the same way, and no split changes a result.

HTTP-22 in small: heads are assembled from good and bad pieces, and h11 (a parser that shares no code with llhttp or with
ours) must read every accepted one identically.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxies.transport.chunked import ChunkedDecoder, ChunkedError
from proxies.transport.errors import RequestRefused, UpstreamProtocolError
from proxies.transport.guard import CHUNKED, RequestHead, check_partial_head, parse_request_head
from proxies.transport.response_guard import check_partial_head as check_partial_response_head
from proxies.transport.response_guard import parse_response_head
from proxies.transport.sse import SSEEvent, SSEParser, encode_event
from tests.rawpeer import chunked

LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1", b"POST /v1/x?y=z HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS /a%2Fb HTTP/1.1", b"GET /a b HTTP/1.1",
        b"get / HTTP/1.1", b"GET / HTTP/1.2", b"GET http://h/ HTTP/1.1", b"GET /../x HTTP/1.1",
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        b"Host: a.test", b"host:b.test:80", b"Host: a.test ", b"Content-Length: 5", b"Content-Length: 05", b"content-length:5\t",
        b"Content-Length: 5, 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip",
        b"Transfer-Encoding : chunked", b"X: y", b"X:", b"X:  two  blanks  ", b" folded", b"X: \xe4", b"X: a\x00b", b"X_Y: z",
        b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c", b"Expect: 100-continue", b"Cookie: a=b", b"x(y): z",
        b"X: a\rb", b"X: a\nb", b"",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    fields = draw(st.lists(FIELDS, max_size=6))
    lines = [draw(LINES), *([b"Host: a.test"] if draw(st.booleans()) else []), *fields]
    return b"".join(line + draw(ENDS) for line in lines) + b"\r\n"


def accepted(raw: bytes) -> RequestHead | None:
    """The head, or None for one that is refused as it should be."""
    try:
        return parse_request_head(raw)
    except RequestRefused as refused:
        return None if 400 <= refused.status <= 505 and refused.code else pytest.fail(repr(refused))


@settings(max_examples=400)
@given(heads())
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
def test_HTTP_22_whatever_is_accepted_another_parser_reads_the_same(raw: bytes) -> None:
    head = accepted(raw)
    if head is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.method.decode() == head.method
    assert event.target.decode() == head.target
    assert event.http_version.decode() == head.http_version
    read = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
    # h11 writes the name of the transfer coding in lower case.
    assert read == [(name, value.lower() if name == "transfer-encoding" else value) for name, value in head.headers]
    lengths = head.headers.getall("content-length") + head.headers.getall("transfer-encoding")
    assert len(lengths) <= 1
    assert (head.content_length == CHUNKED) == ("transfer-encoding" in head.headers)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n", b""]))
def test_HTTP_22_arbitrary_bytes_are_accepted_or_refused_and_nothing_else(data: bytes, start: bytes) -> None:
    raw = start + data + b"\r\n\r\n"
    with suppress(RequestRefused):
        check_partial_head(raw, 0)
        accepted(raw)
    with suppress(UpstreamProtocolError):
        check_partial_response_head(raw, 0)
    with suppress(UpstreamProtocolError):
        assert parse_response_head(raw, "GET").status >= 100


PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


@settings(max_examples=200)
@given(PIECES, st.lists(st.integers(0, 400), max_size=8), st.binary(max_size=20))
def test_HTTP_04_chunks_decode_to_their_content_however_they_arrive(
    pieces: list[bytes], cuts: list[int], rest: bytes
) -> None:
    wire = chunked(*pieces)
    message = wire + rest
    decoder = ChunkedDecoder()
    content = b""
    bounds = sorted({min(cut, len(wire)) for cut in cuts} | {0, len(wire)})
    for start, end in pairwise(bounds):
        assert not decoder.complete
        content += b"".join(decoder.feed(message[start : len(message) if end == len(wire) else end]))
    assert content == b"".join(pieces)
    assert decoder.complete
    assert decoder.rest == rest


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_HTTP_04_a_verdict_on_chunks_does_not_depend_on_the_split(data: bytes) -> None:
    def decode(*pieces: bytes) -> tuple[bytes, bool, bool]:
        decoder = ChunkedDecoder()
        content = b""
        for piece in pieces:
            if decoder.complete:
                break
            try:
                content += b"".join(decoder.feed(piece))
            except ChunkedError:
                return b"", False, True
        return content, decoder.complete, False

    whole = decode(data)
    single = decode(*[bytes([byte]) for byte in data])
    assert single[1:] == whole[1:]
    if not whole[2]:
        assert single[0] == whole[0]


EVENT_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\0"), max_size=20)


@settings(max_examples=150)
@given(
    st.lists(st.builds(SSEEvent, event=st.none() | EVENT_TEXT, data=EVENT_TEXT, id=st.none() | EVENT_TEXT), max_size=5),
    st.integers(1, 7),
)
def test_LIM_17_events_survive_writing_and_reading_in_any_pieces(events: list[SSEEvent], size: int) -> None:
    wire = b"".join(encode_event(event) for event in events)
    parser = SSEParser(10_000)
    read = [event for start in range(0, len(wire), size) for event in parser.feed(wire[start : start + size])]
    assert read + parser.close() == events


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_LIM_01_a_partial_head_is_judged_early(size: int) -> None:
    check_partial_head(b"GET"[:size], 0)
    check_partial_response_head(b"HTTP/1.1"[:size], 0)
