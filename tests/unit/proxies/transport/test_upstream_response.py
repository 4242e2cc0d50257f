"""A response as its caller reads it, fed by hand: answers that trickle in cost no more than their size."""

from __future__ import annotations

import msgspec

from proxies.transport.headers import Headers
from proxies.transport.limits import DEFAULT_BOUNDS
from proxies.transport.response_guard import UNTIL_CLOSE, ResponseHead
from proxies.transport.upstream_response import UpstreamResponse


def _fed(pieces: list[bytes], piece_bytes: int = DEFAULT_BOUNDS.piece_bytes) -> UpstreamResponse:
    response = UpstreamResponse("GET", msgspec.structs.replace(DEFAULT_BOUNDS, piece_bytes=piece_bytes))
    response.head_received(
        ResponseHead(
            status=200,
            reason="OK",
            headers=Headers(),
            content_length=UNTIL_CLOSE,
            keep_alive=False,
            bodyless=False,
        )
    )
    for piece in pieces:
        response.feed(piece)
    response.end()
    return response


async def test_an_answer_in_many_pieces_is_read_whole() -> None:
    pieces = [b"%d," % number for number in range(2_000)]
    assert await _fed(pieces).read(1_000_000) == b"".join(pieces)


async def test_a_stream_hands_on_small_pieces_together_and_long_ones_in_parts() -> None:
    pieces = [b"a", b"b" * 7, b"c" * 25, b"d", b"e"]
    received = [piece async for piece in _fed(pieces, piece_bytes=10)]
    assert received == [b"a" + b"b" * 7, b"c" * 10, b"c" * 10, b"c" * 5 + b"de"]
