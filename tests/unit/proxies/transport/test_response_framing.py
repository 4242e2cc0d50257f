"""HTTP-17..19: an upstream that frames its answers badly or cuts them off."""

from __future__ import annotations

import asyncio

import pytest

from proxies.transport.errors import UpstreamError, UpstreamTruncated
from tests.passthrough import passthrough
from tests.rawpeer import Upstream, UpstreamPeer, chunked, http_request, http_response

OK = b"HTTP/1.1 200 OK\r\n"
SECRET = http_response(200, b"the answer to someone else")

BAD_ANSWERS = {
    "cl-te": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cl-twice-same": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "cl-twice": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "cl-list": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "cl-plus": OK + b"Content-Length: +2\r\n\r\n{}",
    "cl-huge": OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "te-on-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-gzip": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-identity": OK + b"Transfer-Encoding: identity\r\n\r\n{}",
    "status-two-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status-four-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status-letters": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}",
    "status-zero": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "version-2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "version-1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "leading-crlf": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "cr-in-reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\n{}",
    "lf-in-reason": b"HTTP/1.1 200 OK\nX: y\r\nContent-Length: 2\r\n\r\n{}",
    "cr-in-field": OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\n{}",
    "lf-in-field": OK + b"X: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\n{}",
    "nul-in-field": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "blank-before-colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "head-1-mb": OK + b"X: " + b"a" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "fields-201": OK + b"X: a\r\n" * 201 + b"Content-Length: 2\r\n\r\n{}",
    "content-type-twice": OK + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 2\r\n\r\n{}",
    "junk-after-body": OK + b"Content-Length: 2\r\n\r\n{}junk",
    "answer-after-body": OK + b"Content-Length: 2\r\n\r\n{}" + SECRET,
    "answer-after-chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"{}") + SECRET,
    "bad-chunk-size": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "lf-chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "chunk-overflow": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_HTTP_17_a_badly_framed_answer_is_a_bad_gateway_and_leaks_nothing(answer: bytes) -> None:
    async def script(peer: UpstreamPeer) -> None:
        request = await peer.read_request()
        assert request is not None
        if request.target == "/bad":
            await peer.send(answer)
            await peer.wait_gone()
        else:
            await peer.send(http_response(200, b"mine"))

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/bad"))
        first = await client.read_message()
        assert first is not None
        # A head that was good before its chunks went bad has been passed on: then the end must be visibly missing.
        assert first.status == 502 or (first.status == 200 and not first.complete)
        assert proxy.outcomes == ["upstream_protocol_error"]
        assert SECRET not in client.received
        await upstream.connections[0].gone.wait()
        await client.close()
        client = await proxy.connect()
        await client.send(http_request("/good"))
        assert (await client.read_response()).body == b"mine"
        assert len(upstream.connections) == 2
        await client.close()


@pytest.mark.parametrize("junk", [SECRET, b"x", b"\r\n"], ids=["answer", "byte", "crlf"])
async def test_HTTP_17_an_unasked_answer_on_an_idle_connection_meets_nobody(junk: bytes) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"first"))
        await upstream.wait_for_requests(1)
        await idle.wait()
        await peer.send(junk)
        await peer.wait_gone()

    idle = asyncio.Event()
    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/first", [], b"")
        assert await response.read(100) == b"first"
        assert proxy.pool.idle_connections == 1
        idle.set()
        await upstream.connections[0].gone.wait()
        idle.clear()
        second = await proxy.pool.request("GET", "/second", [], b"")
        assert await second.read(100) == b"first"
        assert len(upstream.connections) == 2


@pytest.mark.parametrize(
    ("method", "answer", "status", "pooled"),
    [
        ("HEAD", OK + b"Content-Length: 5\r\n\r\n", 200, True),
        ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, True),
        ("HEAD", OK + b"Content-Length: 5\r\n\r\nhello", 200, False),
        ("HEAD", OK + b"Content-Length: 5\r\n\r\n" + SECRET, 200, False),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nhello", 204, False),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, False),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, False),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" + SECRET, 304, False),
        ("POST", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, False),
    ],
)
async def test_HTTP_18_answers_that_have_no_body(method: str, answer: bytes, status: int, pooled: bool) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(answer)
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method=method))
        first = await client.read_response(bodyless=True)
        assert first.status == status
        assert proxy.pool is not None
        await proxy.wait_for_outcomes(1)
        assert proxy.pool.idle_connections == int(pooled)
        await client.half_close()
        assert await client.read_to_end() == b""
        await client.close()


BODY = b"0123456789abcdef" * 128
FRAMINGS = {
    "length": OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY[:1000], BODY[1000:]),
}


@pytest.mark.parametrize("answer", FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_HTTP_19_an_answer_cut_at_any_byte_never_looks_complete(answer: bytes, how: str) -> None:
    cuts = [*range(0, len(answer) - len(BODY), 9), *range(len(answer) - len(BODY), len(answer), 97), len(answer) - 1]

    async def script(peer: UpstreamPeer) -> None:
        request = await peer.read_request()
        assert request is not None
        await peer.send(answer[: int(request.target[1:])])
        await (peer.close() if how == "fin" else peer.reset())

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        for cut in cuts:
            client = await proxy.connect()
            await client.send(http_request(f"/{cut}", method="POST", body=b"x"))
            got = await client.read_message()
            assert got is not None
            assert got.status in (502, 200)
            assert got.status == 502 or not got.complete, f"cut at {cut} looks complete"
            assert proxy.outcomes[-1] in ("upstream_truncated", "upstream_unreachable")
            await client.close()
        assert len(upstream.requests) == len(cuts)  # Nothing was sent twice.


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_HTTP_19_a_stream_cut_in_the_middle_is_cut_for_the_client_too(version: str, how: str) -> None:
    seen = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"data: 1\n\n", last=False))
        await seen.wait()
        await (peer.close() if how == "fin" else peer.reset())

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(version=version))
        assert b"200 OK" in await client.read_until(b"data: 1\n\n")
        seen.set()
        rest = await client.read_to_end()
        assert b"0\r\n\r\n" not in rest
        if version == "HTTP/1.0":
            assert client.was_reset  # A plain close would be the end of a complete answer.
        assert await proxy.wait_for_outcomes(1) == ["upstream_truncated"]
        await client.close()


async def test_HTTP_19_what_came_before_the_cut_can_still_be_read() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(OK + b"Content-Length: 10\r\n\r\nhello")
        await peer.close()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        received = b""
        while len(received) < 5:
            received += await anext(response)
        assert received == b"hello"
        with pytest.raises(UpstreamTruncated):
            await anext(response)
        assert not response.complete


async def test_HTTP_19_an_answer_that_ends_with_the_connection_is_complete() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")
        await peer.close()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        answer = await client.read_response()
        assert (answer.body, answer.complete) == (b"hello", True)
        await client.close()


async def test_redirects_are_not_followed() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(307, headers=("Location: http://169.254.169.254/latest/meta-data/",)))

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/x", [], b"")
        assert response.status == 307
        await response.read(10)


async def test_the_path_of_the_target_url_comes_first() -> None:
    async with Upstream() as upstream, passthrough(upstream.url + "/base/v2/") as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/v1/x?y=z", [], b"")
        assert await response.read(100) == b"GET /base/v2/v1/x?y=z 0"


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\nb"])
async def test_HTTP_10_a_target_that_would_break_the_request_line_is_not_sent(target: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        with pytest.raises(ValueError, match="must not be sent"):
            await proxy.pool.request("GET", target, [], b"")
        assert upstream.connections == []


@pytest.mark.parametrize(
    "answer",
    [
        http_response(200, b"0123456789"),
        OK + b"Content-Length: 1000000\r\n\r\n0",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"0123", b"4567", last=False),
        OK + b"\r\n0123456789",
    ],
    ids=["complete", "declared", "chunked", "until-close"],
)
async def test_a_response_larger_than_the_caller_allows_is_given_up(answer: bytes) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(answer)
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        with pytest.raises(UpstreamError) as caught:
            await response.read(5)
        assert (caught.value.status, caught.value.code) == (502, "upstream_too_large")
