"""HTTP-01..04, 06: requests whose body two readers could frame differently never reach an upstream.

Every case is sent over a socket to a forwarding proxy. A refused one must get exactly one error with
`Connection: close`, see the connection closed, and leave no byte at the upstream, even with a smuggled second request
right behind it.
"""

from __future__ import annotations

import pytest

from tests.passthrough import SHORT_BODY, passthrough
from tests.rawpeer import Upstream, chunked
from tests.unit.proxies.transport.refusals import SMUGGLED, refused, start

LENGTH_AND_CODING = {
    "cl-te": start(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "te-cl": start(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n" + SMUGGLED,
    "cl-te-close": start(b"Connection: close", b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "cl-0-te": start(b"Content-Length: 0", b"Transfer-Encoding: chunked") + SMUGGLED,
    "cl-te-head": start(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\nHEAD /s HTTP/1.1\r\n\r\n",
    "cl-te-upper": start(b"CONTENT-LENGTH: 4", b"TRANSFER-ENCODING: CHUNKED") + b"0\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("data", LENGTH_AND_CODING.values(), ids=LENGTH_AND_CODING.keys())
async def test_HTTP_01_length_and_transfer_coding_together(data: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, data) == 400


BAD_LENGTHS = {
    "plus": b"+3",
    "minus": b"-1",
    "minus-zero": b"-0",
    "hex": b"0x3",
    "underscore": b"1_0",
    "octal": b"010",
    "zeros": b"00",
    "empty": b"",
    "blank-inside": b"1 0",
    "list-same": b"3, 3",
    "list-different": b"3, 4",
    "2-63": b"9223372036854775808",
    "2-64": b"18446744073709551616",
    "40-digits": b"1" * 40,
    "fraction": b"3.0",
    "exponent": b"3e0",
    "superscript": "³".encode("latin-1"),
    "arabic-digits-utf8": "٣".encode(),
    "form-feed": b"\x0c3",
    "nul": b"3\x00",
    "quoted": b'"3"',
}


@pytest.mark.parametrize("value", BAD_LENGTHS.values(), ids=BAD_LENGTHS.keys())
async def test_HTTP_02_content_length_that_is_not_a_plain_number(value: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, start(b"Content-Length: " + value) + b"abc" + SMUGGLED) == 400


@pytest.mark.parametrize("second", [b"Content-Length: 3", b"content-length: 4", b"Content-Length:3"])
async def test_HTTP_02_content_length_twice(second: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, start(b"Content-Length: 3", second) + b"abc" + SMUGGLED) == 400


BAD_CODINGS = {
    "unknown": [b"Transfer-Encoding: xchunked"],
    "identity": [b"Transfer-Encoding: identity"],
    "chunked-identity": [b"Transfer-Encoding: chunked,identity"],
    "identity-chunked": [b"Transfer-Encoding: identity, chunked"],
    "double": [b"Transfer-Encoding: chunked, chunked"],
    "two-fields": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "two-fields-different": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
    "leading-comma": [b"Transfer-Encoding: ,chunked"],
    "trailing-comma": [b"Transfer-Encoding: chunked,"],
    "parameter": [b"Transfer-Encoding: chunked;a=b"],
    "vertical-tab": [b"Transfer-Encoding: \x0bchunked"],
    "form-feed": [b"Transfer-Encoding: chunked\x0c"],
    "nul": [b"Transfer-Encoding: chunked\x00"],
    "blank-before-colon": [b"Transfer-Encoding : chunked"],
    "tab-before-colon": [b"Transfer-Encoding\t: chunked"],
    "folded": [b"Transfer-Encoding:", b" chunked"],
    "folded-tab": [b"Transfer-Encoding:", b"\tchunked"],
    "gzip": [b"Transfer-Encoding: gzip, chunked"],
    "quoted": [b'Transfer-Encoding: "chunked"'],
    "empty": [b"Transfer-Encoding:"],
    "underscore": [b"Transfer_Encoding: chunked"],
}


@pytest.mark.parametrize("lines", BAD_CODINGS.values(), ids=BAD_CODINGS.keys())
async def test_HTTP_03_transfer_coding_other_than_chunked(lines: list[bytes]) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, start(*lines) + b"0\r\n\r\n" + SMUGGLED) in (400, 501)


async def test_HTTP_03_transfer_coding_on_http_1_0() -> None:
    data = b"POST /x HTTP/1.0\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, data) == 400


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"   chunked"])
async def test_HTTP_03_chunked_in_any_case_is_decoded(value: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(start(b"Transfer-Encoding:" + value) + chunked(b"hello", b" world"))
        assert (await client.read_response()).body == b"POST /x 11"
        assert upstream.requests[0].header("content-length") == "11"
        assert upstream.requests[0].header("transfer-encoding") is None
        await client.close()


BAD_CHUNKS = {
    "hex-prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "minus": b"-3\r\nabc\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    "leading-blank": b" 3\r\nabc\r\n0\r\n\r\n",
    "trailing-blank": b"3 \r\nabc\r\n0\r\n\r\n",
    "trailing-tab": b"3\t\r\nabc\r\n0\r\n\r\n",
    "empty-size": b"\r\nabc\r\n0\r\n\r\n",
    "17-digits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "17-digits-of-zeros": b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    "bare-lf": b"3\nabc\n0\n\n",
    "bare-lf-after-size": b"3\nabc\r\n0\r\n\r\n",
    "bare-cr-after-size": b"3\rabc\r\n0\r\n\r\n",
    "no-crlf-after-data": b"3\r\nabc0\r\n\r\n",
    "bare-lf-after-data": b"3\r\nabc\n0\r\n\r\n",
    "bare-cr-after-data": b"3\r\nabc\r0\r\n\r\n",
    "data-spill": b"3\r\nabcd\r\n0\r\n\r\n",
    "lf-in-extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "cr-in-extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "control-in-extension": b"3;a\x01\r\nabc\r\n0\r\n\r\n",
    "nul-in-extension": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
    "bad-token-in-extension": b"3;a(b\r\nabc\r\n0\r\n\r\n",
    "blank-in-extension": b"3; a\r\nabc\r\n0\r\n\r\n",
    "64-kb-extension": b"3;" + b"a" * 65536 + b"\r\nabc\r\n0\r\n\r\n",
    "letters": b"xyz\r\nabc\r\n0\r\n\r\n",
    "utf8-digits": "٣\r\nabc\r\n0\r\n\r\n".encode(),
    "junk-after-last-chunk": b"3\r\nabc\r\n0\r\nx\r\n\r\n",
    "bare-lf-after-last-chunk": b"3\r\nabc\r\n0\r\n\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
@pytest.mark.parametrize("size", [0, 1], ids=["at-once", "dribbled"])
async def test_HTTP_04_malformed_chunks(body: bytes, size: int) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        data = start(b"Transfer-Encoding: chunked")
        if size:
            await client.send(data)
            await client.dribble(body[:400], size)
        else:
            await client.send(data + body + SMUGGLED)
        answer = await client.read_response()
        assert answer.status == 400
        assert answer.header("connection") == "close"
        assert await client.read_to_end() == b""
        await client.close()
        assert proxy.refused == [(400, "bad_chunk")]
        assert upstream.connections == []


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="q;\\" x"', b";a;b=c;d"])
async def test_HTTP_04_well_formed_extensions_are_dropped(extension: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(
            start(b"Transfer-Encoding: chunked") + b"3" + extension + b"\r\nabc\r\n0" + extension + b"\r\n\r\n"
        )
        assert (await client.read_response()).body == b"POST /x 3"
        assert upstream.requests[0].body == b"abc"
        await client.close()


@pytest.mark.parametrize("body", [b"3\r\nabc\r\n", b"3\r\nab", b"3\r\nabc\r\n0\r\n", b"3", b""])
async def test_HTTP_04_a_body_without_end_meets_its_deadline(body: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url, limits=SHORT_BODY) as proxy:
        client = await proxy.connect()
        await client.send(start(b"Transfer-Encoding: chunked") + body)
        answer = await client.read_response()
        assert answer.status == 408
        assert await client.read_to_end() == b""
        assert upstream.connections == []
        await client.close()


TRAILERS = [
    b"Host: evil.test",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Authorization: Bearer evil",
    b"Cookie: a=b",
    b"Content-Type: text/evil",
    b"X-User: evil",
]


@pytest.mark.parametrize("trailer", TRAILERS)
async def test_HTTP_06_trailers_are_dropped_and_never_become_headers(trailer: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        head = start(b"Transfer-Encoding: chunked", b"Content-Type: text/plain", b"Authorization: Bearer good")
        await client.send(head + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n" + SMUGGLED)
        first, second = await client.read_response(), await client.read_response()
        assert first.body == b"POST /x 3"
        assert second.body == b"GET /smuggled 0"  # A request of its own, as it was sent behind the end of the first.
        request = upstream.requests[0]
        assert b"evil" not in upstream.connections[0].received
        assert request.header("content-length") == "3"
        assert request.header("content-type") == "text/plain"
        assert request.header("authorization") == "Bearer good"
        assert proxy.requests[0].headers.getall("content-type") == ["text/plain"]
        await client.close()


@pytest.mark.parametrize(
    "trailers",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(5000)),
        b"".join(b"X-%d: y\r\n" % number for number in range(33)),
        b"X: " + b"y" * 9000 + b"\r\n",
        b"X : y\r\n",
        b" X: y\r\n",
        b"X: a\x00b\r\n",
        b"X: a\nY: b\r\n",
        b": y\r\n",
    ],
    ids=["5000", "33", "long", "blank-before-colon", "folded", "nul", "bare-lf", "no-name"],
)
async def test_HTTP_06_trailers_are_bounded_and_well_formed(trailers: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(
            proxy, upstream, start(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n" + trailers + b"\r\n"
        ) in (400, 431)
