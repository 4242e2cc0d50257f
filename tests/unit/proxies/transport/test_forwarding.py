"""HTTP-13..16, 24: what passes from one side to the other, and what never does."""

from __future__ import annotations

import pytest

from proxies.transport.headers import Headers, encode_fields, forwardable_request_headers, forwardable_response_headers
from proxies.transport.http1_server import Request, Response
from proxies.transport.via import pseudonym
from tests.passthrough import REQUEST_FIELDS, passthrough
from tests.rawpeer import Upstream, UpstreamPeer, http_request, http_response

EXPECT = ("Expect: 100-continue",)


async def test_HTTP_13_continue_is_sent_when_the_handler_wants_the_body() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        head, body = http_request("/x", method="POST", headers=EXPECT, body=b"hello").split(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(body)
        assert (await client.read_response()).body == b"POST /x 5"
        assert upstream.requests[0].header("expect") is None
        await client.close()


async def test_HTTP_13_no_continue_when_the_body_came_along() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", headers=EXPECT, body=b"hello"))
        assert (await client.read_response()).body == b"POST /x 5"
        assert b"100 Continue" not in client.received
        await client.close()


async def test_HTTP_13_a_final_answer_instead_of_continue_ends_the_connection() -> None:
    async def refuse(request: Request, response: Response) -> None:
        response.send(401, [])

    async with passthrough(handler=refuse) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", headers=(*EXPECT, "Content-Length: 5")))
        answer = await client.read_response()
        assert (answer.status, answer.header("connection")) == (401, "close")
        # The body may or may not follow now: it must not be read as a request.
        await client.send(http_request("/smuggled"))
        assert await client.read_to_end() == b""
        await client.close()


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "", "100 continue"])
async def test_HTTP_13_other_expectations_fail(value: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        received, _ = await proxy.exchange(http_request("/x", method="POST", headers=(f"Expect: {value}",), body=b"x"))
        assert received.startswith(b"HTTP/1.1 417 ")
        assert upstream.connections == []


async def test_HTTP_13_expect_with_a_wrong_length_does_not_desynchronise() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        data = http_request("/x", method="POST", headers=(*EXPECT, "Content-Length: +5"))
        received, _ = await proxy.exchange(data + b"hello" + http_request("/smuggled"))
        assert received.startswith(b"HTTP/1.1 400 ")
        assert upstream.connections == []


async def test_HTTP_13_expect_is_ignored_from_http_1_0() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        data = http_request("/x", method="POST", headers=EXPECT, body=b"hello", version="HTTP/1.0")
        await client.send(data[:-5])
        await client.send(data[-5:])
        answer = await client.read_response()
        assert answer.body == b"POST /x 5"
        assert b"100 Continue" not in client.received
        await client.close()


@pytest.mark.parametrize("status", [401, 413])
async def test_HTTP_13_a_connection_with_an_early_answer_is_not_used_again(status: int) -> None:
    async def answer_early(peer: UpstreamPeer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(http_response(status, b"no"))
        await peer.wait_gone()

    body = b"x" * (16 * 1024 * 1024)  # More than the socket buffers take before the answer comes.
    async with Upstream(answer_early) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("POST", "/x", [], body)
        assert (response.status, await response.read(100)) == (status, b"no")
        assert proxy.pool.idle_connections == 0
        await upstream.connections[0].gone.wait()


INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 10,
]


@pytest.mark.parametrize("interim", INTERIM, ids=["100", "102", "103", "ten"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("apart", [False, True])
async def test_HTTP_14_interim_responses_are_not_passed_on(interim: bytes, version: str, apart: bool) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        if apart:
            await peer.dribble(interim, 7)
            await peer.dribble(http_response(200, b"final"), 7)
        else:
            await peer.send(interim + http_response(200, b"final"))

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(version=version))
        answer = await client.read_message()
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"final")
        assert answer.header("link") is None
        await client.close()


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 11,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=["eleven", "101-upgrade", "101"],
)
async def test_HTTP_14_too_many_or_an_unasked_switch_is_a_bad_gateway(interim: bytes) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(interim + http_response(200, b"final"))
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        assert (await client.read_response()).status == 502
        assert proxy.outcomes == ["upstream_protocol_error"]
        await upstream.connections[0].gone.wait()
        await client.close()


async def test_HTTP_15_hop_by_hop_and_nominated_request_fields_stay_here() -> None:
    allow = REQUEST_FIELDS | {"te", "keep-alive", "proxy-authorization", "x-hop", "trailer", "proxy-connection"}
    received = Headers(
        [
            ("host", "h"),
            ("connection", "keep-alive, X-Hop"),
            ("connection", "authorization , cookie"),
            ("authorization", "Bearer client"),
            ("cookie", "a=b"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("accept", "application/json"),
        ]
    )
    assert forwardable_request_headers(received, allow) == [("accept", "application/json")]


async def test_HTTP_15_nomination_cannot_remove_what_the_gateway_adds() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        nominated = Headers([("connection", "authorization, host, content-length"), ("authorization", "Bearer c")])
        fields = [*forwardable_request_headers(nominated, REQUEST_FIELDS), ("authorization", "Bearer gateway")]
        response = await proxy.pool.request("POST", "/x", fields, b"abc")
        assert await response.read(100) == b"POST /x 3"
        assert upstream.requests[0].header("authorization") == "Bearer gateway"
        assert upstream.requests[0].header("content-length") == "3"
        assert upstream.requests[0].header("connection") is None


async def test_HTTP_15_hop_by_hop_response_fields_stay_there() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(
            http_response(
                200,
                b"{}",
                headers=(
                    "Connection: keep-alive, X-Answer",
                    "X-Answer: 1",
                    "Keep-Alive: timeout=5",
                    "Upgrade: h2c",
                    "Proxy-Authenticate: Basic",
                    "Trailer: x",
                    "Content-Type: text/plain",
                ),
            )
        )

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        answer = await client.read_response()
        names = {name for name, _ in answer.fields}
        assert names == {"date", "content-type", "content-length"}
        await client.close()


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-For: 127.0.0.1",
        "x-FORWARDED-for: ::1",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Uri: /admin",
        "X-Forwarded-User: root",
        "Forwarded: for=127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "X-Client-IP: 127.0.0.1",
        "True-Client-IP: 127.0.0.1",
        "Via: 1.1 x",
    ],
)
async def test_HTTP_16_claims_about_the_client_are_dropped(field: str) -> None:
    name, _, value = field.partition(": ")
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(headers=(field, field)))
        assert (await client.read_response()).status == 200
        assert proxy.requests[0].peer_ip == "127.0.0.1"
        assert name.lower().encode() not in upstream.connections[0].received.lower()
        await client.close()
    # Not even an allow-list that names the field lets it through.
    received = Headers([(name.lower(), value)])
    assert forwardable_request_headers(received, frozenset({name.lower()}), allow_prefixes=("x-",)) == []


def test_SSRF_07_of_via_only_the_proxies_of_ours_go_on() -> None:
    mine, other = pseudonym("prx_a"), pseudonym("prx_b")
    received = Headers(
        [("via", f"1.0 fred, 1.1 {mine}"), ("via", f"1.1 {mine} (comment),1.1 {other}\t, 1.1 ostiary-xyz")]
    )
    assert mine != other
    assert forwardable_request_headers(received, frozenset()) == [("via", f"1.1 {mine}, 1.1 {other}")]


def test_HTTP_16_prefixes_allow_families_of_fields() -> None:
    received = Headers([("mcp-param-region", "eu"), ("mcp-param-x", "y"), ("accept", "a"), ("x-b", "c")])
    assert forwardable_request_headers(received, frozenset({"accept"}), allow_prefixes=("mcp-param-",)) == [
        ("mcp-param-region", "eu"),
        ("mcp-param-x", "y"),
        ("accept", "a"),
    ]
    assert forwardable_response_headers(received, frozenset(), allow_prefixes=("x-",)) == [("x-b", "c")]


def test_HTTP_24_fields_that_describe_exact_bytes_are_not_forwarded() -> None:
    names = ["content-length", "etag", "digest", "content-md5", "repr-digest", "content-digest", "accept-ranges",
             "content-range", "content-encoding", "last-modified"]  # fmt: skip
    received = Headers([(name, "x") for name in names])
    assert forwardable_response_headers(received, frozenset(names)) == []


async def test_HTTP_24_no_range_and_no_coding_is_asked_for() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(headers=("Range: bytes=0-1", "If-Range: x", "Accept-Encoding: gzip, br")))
        assert (await client.read_response()).status == 200
        request = upstream.requests[0]
        assert request.header("range") is None
        assert request.header("if-range") is None
        assert request.header("accept-encoding") == "identity"
        await client.close()


@pytest.mark.parametrize(
    "field",
    [("x", "a\r\nb: c"), ("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b"), ("x\r\ny", "a"), ("", "a"), ("x y", "a"),
     ("x:y", "a"), ("x", "\u20ac"), ("x", "a\r\n\r\nbody")],
)  # fmt: skip
def test_HTTP_17_a_field_that_would_break_the_framing_is_not_sent(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="must not be sent"):
        encode_fields([("first", "fine"), field])


def test_headers_keep_order_and_hide_values() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("a", "3")])
    assert headers.get("a") == "1"
    assert headers.get("c") is None
    assert headers.get("c", "d") == "d"
    assert headers.getall("a") == ["1", "3"]
    assert headers.getall("c") == []
    assert list(headers) == headers.items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert headers.without("a").items() == [("b", "2")]
    assert "a" in headers
    assert len(headers) == 3
    assert headers.has_repeats()
    assert repr(headers) == "<Headers a, b, a>"
    assert Headers([("connection", "Close, ,X"), ("connection", "y")]).tokens("connection") == {"close", "x", "y"}
