"""HTTP-01..04, 06..12, 25, 26: requests whose framing two readers could read differently never reach an upstream.

Every case is sent over a socket to a forwarding proxy. A refused one must get exactly one error with
`Connection: close`, see the connection closed, and leave no byte at the upstream, even with a smuggled second request
right behind it.
"""

from __future__ import annotations

import json

import pytest

from tests.passthrough import SHORT_BODY, PassThrough, passthrough
from tests.rawpeer import RawClient, Upstream, chunked, http_request

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
START = b"POST /x HTTP/1.1\r\nHost: proxy.test\r\n"


def start(*lines: bytes) -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


async def refused(proxy: PassThrough, upstream: Upstream, data: bytes) -> int:
    """Send the bytes, check that they are refused as a whole, and give the status."""
    client = await proxy.connect()
    await client.send(data)
    answer = await client.read_response()
    assert answer.header("connection") == "close"
    assert answer.header("content-type") == "application/json"
    error = json.loads(answer.body)["error"]
    assert error["code"]
    assert error["message"]
    assert error["remediation"]
    assert await client.read_to_end() == b""
    await client.close()
    assert upstream.connections == []
    return answer.status


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


BAD_FIELDS = {
    "nul": b"X: a\x00b",
    "nul-in-name": b"X\x00: a",
    "control": b"X: a\x01b",
    "delete": b"X: a\x7fb",
    "escape": b"X: \x1b[2J",
    "bare-cr": b"X: a\rb",
    "bare-cr-header": b"X: a\rContent-Length: 3",
    "bare-lf": b"X: a\nContent-Length: 3",
    "empty-name": b": a",
    "blank-before-colon": b"X : a",
    "no-colon": b"X",
    "non-token-name": b"X(y): a",
    "quote-in-name": b'"X": a',
    "non-ascii-name": "Xé: a".encode(),
    "nbsp-in-name": b"X\xa0: a",
    "folded": b"X: a\r\n b",
    "folded-tab": b"X: a\r\n\tb",
    "vertical-tab": b"X:\x0ba",
}


@pytest.mark.parametrize("field", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
async def test_HTTP_07_malformed_fields(field: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, START + field + b"\r\n\r\n" + SMUGGLED) == 400


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n Host: proxy.test\r\n\r\n",
        b"GET / HTTP/1.1\r\n \r\nHost: proxy.test\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n",
        b"GET / HTTP/1.1\nHost: proxy.test\n\n",
        b"GET / HTTP/1.1\rHost: proxy.test\r\r",
        b"GET / HTTP/1.1\r\nHost: proxy.test\n\r\n",
    ],
    ids=["folded-first", "blank-line", "leading-crlf", "leading-blank", "only-lf", "only-cr", "mixed"],
)
async def test_HTTP_07_malformed_lines(data: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, data) == 400


@pytest.mark.parametrize("field", [b"Content_Length: 3", b"X_Forwarded_For: 1.2.3.4", b"X_User: root", b"_: x"])
async def test_HTTP_08_underscore_twins(field: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, START + field + b"\r\n\r\n") == 400
        assert proxy.refused == [(400, "header_name_underscore")]


BAD_HOSTS = {
    "missing": b"",
    "twice-same": b"Host: a.test\r\nHost: a.test\r\n",
    "twice": b"Host: a.test\r\nhost: b.test\r\n",
    "comma": b"Host: a.test, b.test\r\n",
    "empty": b"Host:\r\n",
    "blank-inside": b"Host: a.test b.test\r\n",
    "path": b"Host: a.test/x\r\n",
    "query": b"Host: a.test?x\r\n",
    "fragment": b"Host: a.test#x\r\n",
    "userinfo": b"Host: user@a.test\r\n",
    "scheme": b"Host: http://a.test\r\n",
    "bad-port": b"Host: a.test:http\r\n",
    "empty-port": b"Host: a.test:\r\n",
    "port-0": b"Host: a.test:0\r\n",
    "port-65536": b"Host: a.test:65536\r\n",
    "port-sign": b"Host: a.test:+80\r\n",
    "open-bracket": b"Host: [::1\r\n",
    "bad-ipv6": b"Host: [::g]\r\n",
    "zone": b"Host: [fe80::1%25eth0]\r\n",
    "long": b"Host: " + b"a" * 300 + b"\r\n",
    "percent": b"Host: a%2etest\r\n",
    "non-ascii": "Host: ä.test\r\n".encode(),
    "backslash": b"Host: a.test\\b\r\n",
}


@pytest.mark.parametrize("host", BAD_HOSTS.values(), ids=BAD_HOSTS.keys())
async def test_HTTP_09_host_missing_repeated_or_malformed(host: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, b"GET / HTTP/1.1\r\n" + host + b"\r\n") == 400


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:65535", "[::ffff:127.0.0.1]", "a_b.c-d.test."]
)
async def test_HTTP_09_host_is_given_as_received_and_the_upstream_sees_its_own(host: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/", host=host))
        assert (await client.read_response()).status == 200
        assert proxy.requests[0].host == host
        assert upstream.requests[0].header("host") == f"127.0.0.1:{upstream.port}"
        await client.close()


async def test_HTTP_09_an_http_1_0_request_needs_a_host_too() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, b"GET / HTTP/1.0\r\n\r\n") == 400


BAD_TARGETS = {
    "absolute": b"http://third.test/",
    "absolute-same-host": b"http://proxy.test/",
    "absolute-https": b"https://proxy.test/x",
    "star": b"*",
    "authority": b"third.test:443",
    "no-slash": b"x",
    "query-only": b"?x",
    "double-slash": b"//third.test/x",
    "inner-double-slash": b"/a//b",
    "dot-dot": b"/a/../b",
    "dot-dot-end": b"/a/..",
    "dot": b"/a/./b",
    "encoded-dot-dot": b"/a/%2e%2e/b",
    "half-encoded-dot-dot": b"/a/.%2E/b",
    "encoded-slash-dot-dot": b"/a%2f..%2fb",
    "encoded-double-slash": b"/a%2f%2fb",
    "backslash": b"/a\\b",
    "encoded-backslash-dot-dot": b"/a%5c..%5cb",
    "encoded-nul": b"/a%00",
    "encoded-nul-in-query": b"/a?b=%00",
    "encoded-crlf": b"/a%0d%0aX:y",
    "encoded-delete": b"/a%7f",
    "overlong-utf8": b"/a%c0%afb",
    "overlong-dot": b"/%c0%ae%c0%ae/b",
    "surrogate": b"/%ed%a0%80",
    "bad-percent": b"/a%zz",
    "short-percent": b"/a%2",
    "bad-percent-in-query": b"/a?b=%f",
    "fragment": b"/a#frag",
    "fragment-in-query": b"/a?b#frag",
    "raw-tab": b"/a\tb",
    "raw-blank": b"/a b",
    "raw-non-ascii": "/ä".encode(),
    "raw-delete": b"/a\x7f",
    "raw-quote": b'/a"b',
    "raw-angle": b"/<script>",
}


@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS"])
async def test_HTTP_10_targets_that_could_mean_another_place(method: bytes, target: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, method + b" " + target + b" HTTP/1.1\r\nHost: proxy.test\r\n\r\n") == 400


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/chat/completions",
        "/v1/models/org%2Fmodel:beta",
        "/v1/",
        "/.well-known/x",
        "/a?",
        "/a?b=c&d[]=e|{f}^",
        "/a?next=%0d%0a/../%2e%2e//",
        "/%E4%BD%A0",
        "/a;b=1,c/@x/~y/!$&'()*+,;=:-._",
        "/a?b=http://third.test/?c",
    ],
)
async def test_HTTP_10_the_upstream_gets_the_target_byte_for_byte(target: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(target))
        assert (await client.read_response()).status == 200
        assert upstream.requests[0].target == target
        path, _, query = target.partition("?")
        request = proxy.requests[0]
        assert (request.target, request.path, request.query) == (target, path, query)
        await client.close()


async def test_HTTP_10_connect_is_no_open_proxy() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        data = b"CONNECT third.test:443 HTTP/1.1\r\nHost: third.test:443\r\n\r\n"
        assert await refused(proxy, upstream, data) == 405


async def test_HTTP_10_a_target_of_70_kb() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, http_request("/" + "a" * 70_000)) == 414


VERSIONS = {
    "0.9-line": (b"GET /\r\n\r\n", 400),
    "0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "1.10": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 505),
    "2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "3.0": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "lower-case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "tab": (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two-blanks": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "trailing-blank": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "no-minor": (b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    "rtsp": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), VERSIONS.values(), ids=VERSIONS.keys())
async def test_HTTP_11_versions(data: bytes, status: int) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, data) == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_HTTP_12_a_body_that_is_a_request_stays_a_body(method: str, coding: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        if coding == "length":
            await client.send(http_request("/first", method=method, body=SMUGGLED))
        else:
            data = http_request("/first", method=method, headers=("Transfer-Encoding: chunked",))
            await client.send(data + chunked(SMUGGLED))
        first = await client.read_response(bodyless=method == "HEAD")
        assert first.status == 200
        await client.send(http_request("/second"))
        assert (await client.read_response()).body == b"GET /second 0"
        assert [request.target for request in upstream.requests] == ["/first", "/second"]
        assert upstream.requests[0].body == SMUGGLED
        await client.close()


@pytest.mark.parametrize(
    "fields",
    [
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: websocket", "Connection: Upgrade"),
        ("Upgrade: h2c",),
    ],
)
async def test_HTTP_25_an_upgrade_is_ignored_and_never_forwarded(fields: tuple[str, ...]) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/first", headers=fields))
        answer = await client.read_response()
        assert (answer.status, answer.body) == (200, b"GET /first 0")
        for name in ("upgrade", "connection", "http2-settings"):
            assert upstream.requests[0].header(name) is None
        await client.send(http_request("/second", headers=fields, method="POST", body=b"abc"))
        assert (await client.read_response()).body == b"POST /second 3"
        await client.close()


async def test_HTTP_25_the_http_2_preface() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0") in (400, 501, 505)


METHODS = {
    "trace": (b"TRACE", 405),
    "connect": (b"CONNECT", 405),
    "unknown": (b"BREW", 501),
    "webdav": (b"PROPFIND", 501),
    "lower-case": (b"get", 501),
    "mixed-case": (b"Post", 501),
    "not-a-token": (b"G(T", 400),
    "nul": (b"GE\0T", 400),
    "8-kb": (b"G" * 8000, 501),
    "1-mb": (b"G" * 1_000_000, 400),
}


@pytest.mark.parametrize(("method", "status"), METHODS.values(), ids=METHODS.keys())
async def test_HTTP_26_methods(method: bytes, status: int) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client: RawClient = await proxy.connect()
        await client.send(method[:100_000] + b" / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        assert (await client.read_response()).status == status
        assert await client.read_to_end() == b""
        assert upstream.connections == []
        await client.close()


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Last-Event-ID", "Origin",
     "Content-Type", "Content-Encoding", "X-Api-Key", "Mcp-Param-Region"],
)  # fmt: skip
async def test_G_06_security_relevant_fields_occur_once(name: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert await refused(proxy, upstream, http_request(headers=(f"{name}: a", f"{name.lower()}: a"))) == 400
