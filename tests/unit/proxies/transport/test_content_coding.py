"""BODY-01..03, G-05: encoded bodies are decoded within bounds before anyone looks at them, or refused."""

from __future__ import annotations

import gzip
import zlib
from functools import partial

import pytest

from proxies.transport.content_coding import CodingRefused, decode_body, is_identity
from proxies.transport.errors import UpstreamProtocolError, UpstreamTooLarge
from tests.passthrough import passthrough
from tests.rawpeer import Upstream, UpstreamPeer, chunked, http_response

# Without a time stamp: the two test processes must collect the same cases.
gzipped = partial(gzip.compress, mtime=0)

TEXT = b"the quick brown fox jumps over the lazy dog. " * 50
MEBIBYTE = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TEXT, None),
        (TEXT, ""),
        (TEXT, "Identity"),
        (gzipped(TEXT), "gzip"),
        (gzipped(TEXT), " GZIP "),
        (gzipped(TEXT), "x-gzip"),
        (gzipped(TEXT[:100]) + gzipped(TEXT[100:]), "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
    ],
)
def test_BODY_02_codings_that_are_understood(body: bytes, coding: str | None) -> None:
    assert decode_body(body, coding, max_bytes=len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TEXT, "br"),
        (TEXT, "zstd"),
        (TEXT, "compress"),
        (gzipped(gzipped(TEXT)), "gzip, gzip"),
        (TEXT, "identity, gzip"),
        (TEXT, "gzip"),
        (b"", "gzip"),
        (gzipped(TEXT)[:-1], "gzip"),
        (gzipped(TEXT)[:30], "gzip"),
        (gzipped(TEXT) + b"junk", "gzip"),
        (gzipped(TEXT)[:-8] + b"12345678", "gzip"),
        (zlib.compress(TEXT) + b"junk", "deflate"),
        (zlib.compress(TEXT)[:-6], "deflate"),
        (zlib.compress(TEXT), "gzip"),
        (gzipped(b"x") * 65, "gzip"),
    ],
)
def test_BODY_02_unknown_stacked_or_broken_codings_are_refused(body: bytes, coding: str) -> None:
    with pytest.raises(CodingRefused) as caught:
        decode_body(body, coding, max_bytes=10 * MEBIBYTE)
    assert not caught.value.too_large


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress, raw_deflate])
def test_BODY_01_bombs_stop_at_the_limit(encode) -> None:  # type: ignore[no-untyped-def]
    coding = "gzip" if encode is gzip.compress else "deflate"
    bomb = encode(b"\0" * (20 * MEBIBYTE))
    with pytest.raises(CodingRefused) as caught:
        decode_body(bomb, coding, max_bytes=MEBIBYTE)
    assert caught.value.too_large
    # Under the size limit, but out of all proportion.
    with pytest.raises(CodingRefused) as caught:
        decode_body(bomb, coding, max_bytes=100 * MEBIBYTE)
    assert caught.value.too_large


def test_BODY_01_many_members_share_one_limit() -> None:
    member = gzipped(b"\0" * MEBIBYTE)
    with pytest.raises(CodingRefused) as caught:
        decode_body(member * 50, "gzip", max_bytes=10 * MEBIBYTE)
    assert caught.value.too_large


def test_is_identity() -> None:
    assert [is_identity(value) for value in (None, "", "identity", " IDENTITY ", "gzip", "identity, gzip")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


def answering(answer: bytes):  # type: ignore[no-untyped-def]
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(answer)
        await peer.wait_gone()

    return script


async def test_BODY_02_an_answer_is_decoded_before_it_is_handed_on() -> None:
    answer = http_response(200, gzipped(TEXT), headers=("Content-Encoding: gzip",))
    async with Upstream(answering(answer)) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        assert await response.read(len(TEXT)) == TEXT
        assert upstream.requests[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize(
    ("coding", "body", "error"),
    [
        ("br", TEXT, UpstreamProtocolError),
        ("gzip", TEXT, UpstreamProtocolError),
        ("gzip", gzipped(b"\0" * MEBIBYTE), UpstreamTooLarge),
    ],
)
async def test_BODY_02_an_answer_that_cannot_be_decoded_is_an_error(
    coding: str, body: bytes, error: type[Exception]
) -> None:
    answer = http_response(200, body, headers=(f"Content-Encoding: {coding}",))
    async with Upstream(answering(answer)) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        with pytest.raises(error):
            await response.read(100_000)


async def test_BODY_02_an_encoded_stream_is_refused() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = answering(answer + chunked(gzipped(TEXT), last=False))
    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        with pytest.raises(UpstreamProtocolError):
            aiter(response)
        await upstream.connections[0].gone.wait()
