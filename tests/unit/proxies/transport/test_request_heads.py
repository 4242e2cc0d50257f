"""HTTP-07..12, 25, 26, G-06: request heads that two readers could read differently never reach an upstream."""

from __future__ import annotations

import pytest

from tests.passthrough import passthrough
from tests.rawpeer import RawClient, Upstream, chunked, http_request
from tests.unit.proxies.transport.refusals import SMUGGLED, START, refused

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
        answer = await client.read_response()
        assert answer.status == status
        allowed = answer.header("allow")
        assert allowed == ("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" if status == 405 else None)
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
