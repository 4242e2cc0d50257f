"""LIM-01, 02, 06, 07, HTTP-05: everything that a client can make large or many has an end."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxies.contract import Limits
from proxies.transport.http1_server import Request, Response
from tests.passthrough import LIMITS, QUICK, PassThrough, passthrough
from tests.rawpeer import HANG_SECONDS, Upstream, UpstreamPeer, chunked, http_request


def head_of(size: int) -> bytes:
    """A request head of exactly this many bytes, made of fields of 8 KiB and less."""
    fixed = b"GET / HTTP/1.1\r\nHost: proxy.test\r\n"
    fields = b""
    while (left := size - len(fixed) - len(fields) - 2) > 8300:
        fields += b"X-%02d: %b\r\n" % (left // 8300, b"a" * 8100)
    fields += b"X-L: " + b"a" * (left - 7) + b"\r\n"
    head = fixed + fields + b"\r\n"
    assert len(head) == size
    return head


OVERSIZE = {
    "request-line": (b"GET /" + b"a" * (8 * 1024 - 13) + b" HTTP/1.1\r\nHost: proxy.test\r\n\r\n", 414),
    "header-line": (b"GET / HTTP/1.1\r\nHost: proxy.test\r\nX: " + b"a" * (16 * 1024 - 2) + b"\r\n\r\n", 431),
    "head": (head_of(64 * 1024 + 1), 431),
    "fields": (b"GET / HTTP/1.1\r\nHost: proxy.test\r\n" + b"X: a\r\n" * 100 + b"\r\n", 431),
    "endless-line": (b"GET /" + b"a" * 200_000, 414),
    "endless-field": (b"GET / HTTP/1.1\r\nHost: proxy.test\r\nX: " + b"a" * 200_000, 431),
    "endless-fields": (b"GET / HTTP/1.1\r\nHost: proxy.test\r\n" + b"X: a\r\n" * 30_000, 431),
}
LARGEST = {
    "request-line": b"GET /" + b"a" * (8 * 1024 - 14) + b" HTTP/1.1\r\nHost: proxy.test\r\n\r\n",
    "header-line": b"GET / HTTP/1.1\r\nHost: proxy.test\r\nX: " + b"a" * (16 * 1024 - 3) + b"\r\n\r\n",
    "head": head_of(64 * 1024),
    "fields": b"GET / HTTP/1.1\r\nHost: proxy.test\r\n" + b"X: a\r\n" * 99 + b"\r\n",
}


@pytest.mark.parametrize(("data", "status"), OVERSIZE.values(), ids=OVERSIZE.keys())
@pytest.mark.parametrize("piece", [0, 1000])
async def test_LIM_01_a_head_over_a_limit_is_refused(data: bytes, status: int, piece: int) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        sending = asyncio.create_task(client.dribble(data, piece) if piece else client.send(data))
        assert (await client.read_response()).status == status
        assert await client.read_to_end() == b""
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert proxy.refused[0][0] == status
        assert upstream.connections == []
        await client.close()


@pytest.mark.parametrize("data", LARGEST.values(), ids=LARGEST.keys())
@pytest.mark.parametrize("piece", [0, 1000])
async def test_LIM_01_a_head_at_the_limit_is_served(data: bytes, piece: int) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await (client.dribble(data, piece) if piece else client.send(data))
        assert (await client.read_response()).status == 200
        await client.close()


async def test_LIM_01_a_request_in_single_bytes_is_served() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.dribble(http_request("/x", method="POST", body=b"hello world"))
        assert (await client.read_response()).body == b"POST /x 11"
        await client.close()


MAX = LIMITS.max_body_bytes
TOO_LARGE = {
    "declared": http_request("/x", method="POST", headers=(f"Content-Length: {MAX + 1}",)),
    "declared-huge": http_request("/x", method="POST", headers=("Content-Length: 999999999999999",)),
    "sent": http_request("/x", method="POST", body=b"a" * (MAX + 1)),
    "chunked": http_request("/x", method="POST", headers=("Transfer-Encoding: chunked",))
    + chunked(*[b"a" * 1000] * (MAX // 1000 + 1)),
    "one-chunk": http_request("/x", method="POST", headers=("Transfer-Encoding: chunked",)) + chunked(b"a" * (MAX + 1)),
}


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_LIM_02_a_body_over_the_limit_is_413(data: bytes) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(data)
        answer = await client.read_response()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert await client.read_to_end() == b""
        assert proxy.outcomes == ["body_too_large"]
        assert proxy.requests[0].body_bytes <= MAX + 256 * 1024
        assert upstream.connections == []
        await client.close()


@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_LIM_02_a_body_at_the_limit_is_served(coding: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        if coding == "length":
            await client.send(http_request("/x", method="POST", body=b"a" * MAX))
        else:
            await client.send(http_request("/x", method="POST", headers=("Transfer-Encoding: chunked",)))
            await client.send(chunked(b"a" * MAX))
        assert (await client.read_response()).body == b"POST /x %d" % MAX
        await client.close()


async def test_LIM_02_the_body_is_not_read_far_ahead_of_a_handler_that_has_not_asked() -> None:
    asked = asyncio.Event()
    seen: list[Request] = []

    async def handler(request: Request, response: Response) -> None:
        seen.append(request)
        await asked.wait()
        response.send(200, [], b"%d" % len(await request.body()))

    limits = msgspec.structs.replace(LIMITS, max_body_bytes=32 * 1024 * 1024)
    async with passthrough(limits=limits, handler=handler) as proxy:
        client = await proxy.connect()
        size = 16 * 1024 * 1024
        sending = asyncio.create_task(client.send(http_request("/x", method="POST", body=b"a" * size)))
        async with asyncio.timeout(HANG_SECONDS):
            while not seen or seen[0].body_bytes < QUICK.read_ahead_bytes:
                await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0)
        assert seen[0].body_bytes <= 2 * QUICK.read_ahead_bytes
        asked.set()
        assert (await client.read_response()).body == b"%d" % size
        await sending
        await client.close()


async def _tiny_chunks(count: int, limits: Limits) -> tuple[int, PassThrough]:
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        head = http_request("/x", method="POST", headers=("Transfer-Encoding: chunked",))
        sending = asyncio.create_task(client.send(head + b"1\r\na\r\n" * count + b"0\r\n\r\n"))
        status = (await client.read_response()).status
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert len(upstream.requests) == (status == 200)
        if status == 200:
            assert upstream.requests[0].body == b"a" * count
        await client.close()
        return status, proxy


async def test_HTTP_05_tiny_chunks_arrive_whole_or_meet_the_bound_of_the_body() -> None:
    assert (await _tiny_chunks(100_000, LIMITS))[0] == 200
    status, proxy = await _tiny_chunks(300_000, LIMITS)
    assert status == 413
    assert proxy.outcomes == ["body_too_large"]


@pytest.mark.nightly
async def test_HTTP_05_a_million_tiny_chunks_arrive_whole() -> None:
    status, _ = await _tiny_chunks(1_000_000, msgspec.structs.replace(LIMITS, max_body_bytes=10_000_000))
    assert status == 200


async def test_HTTP_05_extensions_larger_than_the_content_are_too_much() -> None:
    async with passthrough("http://127.0.0.1:9") as proxy:
        client = await proxy.connect()
        head = http_request("/x", method="POST", headers=("Transfer-Encoding: chunked",))
        await client.send(head + (b"1;" + b"e" * 200 + b"\r\na\r\n") * 1_000)
        assert (await client.read_response()).status == 413
        assert proxy.refused == [(413, "bad_chunk")]
        await client.close()


async def test_HTTP_05_a_body_in_many_pieces_is_joined() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        body = bytes(range(256)) * 20
        await client.send(http_request("/x", method="POST", headers=(f"Content-Length: {len(body)}",)))
        await client.dribble(body)
        assert (await client.read_response()).status == 200
        assert upstream.requests[0].body == body
        await client.close()


@pytest.mark.nightly
async def test_HTTP_05_half_a_megabyte_in_single_byte_segments() -> None:
    limits = msgspec.structs.replace(LIMITS, max_body_bytes=10_000_000)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        size = 500_000
        await client.send(http_request("/x", method="POST", headers=(f"Content-Length: {size}",)))
        await client.dribble(b"a" * size)
        assert (await client.read_response()).body == b"POST /x %d" % size
        await client.close()


async def test_LIM_06_pipelined_requests_are_answered_in_order() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        requests = [http_request(f"/{number}", method="POST", body=b"x" * number) for number in range(1, 60)]
        await client.send(b"".join(requests))
        for number in range(1, 60):
            assert (await client.read_response()).body == b"POST /%d %d" % (number, number)
        assert len(upstream.requests) == 59
        await client.close()


async def _pipeline_flood(count: int) -> None:
    hold = asyncio.Event()

    async def slow(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await hold.wait()

    async with Upstream(slow) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/flood"))
        await upstream.wait_for_requests(1)
        sending = asyncio.create_task(client.send(http_request("/flood") * count))
        assert await client.read_to_end() == b""
        await asyncio.gather(sending, return_exceptions=True)
        assert proxy.refused == [(400, "pipeline_overflow")]
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        assert len(upstream.requests) == 1
        assert proxy.listener.in_flight == 0
        hold.set()
        await client.close()


async def test_LIM_06_a_pipelining_flood_is_cut_off() -> None:
    await _pipeline_flood(2500)


async def test_LIM_06_a_flood_in_one_piece_is_cut_off_before_anything_runs() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/flood") * 2500)
        await client.read_to_end()
        await client.close()
        async with asyncio.timeout(HANG_SECONDS):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)
        assert proxy.refused == [(400, "pipeline_overflow")]
        assert proxy.listener.in_flight == 0


@pytest.mark.nightly
async def test_LIM_06_ten_thousand_pipelined_requests() -> None:
    await _pipeline_flood(10_000)


async def test_LIM_06_a_request_right_behind_an_answer_is_not_a_flood() -> None:
    recorded = asyncio.Event()
    answers = 0

    async def handler(request: Request, response: Response) -> None:
        nonlocal answers
        response.send(200, [], b"%d" % len(await request.body()))
        answers += 1
        if answers == 1:
            await recorded.wait()  # The answer is out, the handler still has something to do.

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/a"))
        assert (await client.read_response()).body == b"0"
        sending = asyncio.create_task(client.send(http_request("/b", method="POST", body=b"x" * 200_000)))
        await asyncio.sleep(0.05)
        recorded.set()
        assert (await client.read_response()).body == b"200000"
        await sending
        assert proxy.refused == []
        await client.close()


async def test_LIM_07_connections_over_the_cap_get_a_clean_refusal() -> None:
    limits = msgspec.structs.replace(LIMITS, max_connections=3)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits) as proxy:
        clients = [await proxy.connect() for _ in range(3)]
        for client in clients:
            await client.send(http_request())
            assert (await client.read_response()).status == 200
        received, extra = await proxy.exchange(b"")
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"too_many_connections" in received
        assert not extra.was_reset
        for client in clients:  # Those that are in keep their service.
            await client.send(http_request())
            assert (await client.read_response()).status == 200
        await clients[0].close()
        async with asyncio.timeout(HANG_SECONDS):
            while proxy.listener.connections > 2:
                await asyncio.sleep(0.01)
        late = await proxy.connect()
        await late.send(http_request())
        assert (await late.read_response()).status == 200
        for client in (late, *clients[1:]):
            await client.close()


async def test_LIM_07_a_flood_of_connections_over_the_cap_is_reset() -> None:
    limits = msgspec.structs.replace(LIMITS, max_connections=1)
    bounds = msgspec.structs.replace(QUICK, polite_refusals=2, linger_seconds=60)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits, bounds=bounds) as proxy:
        first = await proxy.connect()
        await first.send(http_request())
        assert (await first.read_response()).status == 200
        polite = [await proxy.connect() for _ in range(2)]
        for client in polite:
            assert (await client.read_response()).status == 503
        for _ in range(3):
            received, _ = await proxy.exchange(b"")
            assert received == b""
        assert proxy.listener.connections == 3
        assert proxy.refused == [(503, "too_many_connections")] * 5
        await first.send(http_request())
        assert (await first.read_response()).status == 200
        for client in (first, *polite):
            await client.close()


async def test_LIM_02_a_client_that_sends_its_whole_body_first_still_sees_the_refusal() -> None:
    bounds = msgspec.structs.replace(QUICK, linger_seconds=HANG_SECONDS)
    async with Upstream() as upstream, passthrough(upstream.url, bounds=bounds) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", body=b"a" * (8 * 1024 * 1024)))
        assert (await client.read_response()).status == 413
        assert not client.was_reset
        await client.close()


async def test_LIM_02_a_refused_client_cannot_go_on_sending_for_ever() -> None:
    bounds = msgspec.structs.replace(QUICK, linger_seconds=HANG_SECONDS, max_linger_bytes=1024 * 1024)

    async def refuse(request: Request, response: Response) -> None:
        response.send(401, [])

    async with passthrough(handler=refuse, bounds=bounds) as proxy:
        client = await proxy.connect()
        head = http_request("/x", method="POST", headers=("Content-Length: 999999999",))
        sending = asyncio.create_task(client.send(head + b"a" * 64 * 1024 * 1024))
        async with asyncio.timeout(HANG_SECONDS):
            assert (await client.read_response()).status == 401
            await client.read_to_end()
            await asyncio.gather(sending, return_exceptions=True)
            while proxy.listener.connections:
                await asyncio.sleep(0.01)
        await client.close()


async def test_LIM_02_a_refused_body_is_not_read_without_bound_while_the_handler_thinks() -> None:
    think = asyncio.Event()

    async def handler(request: Request, response: Response) -> None:
        await think.wait()
        response.send(200, [], b"%d" % len(await request.body()))

    bounds = msgspec.structs.replace(QUICK, max_linger_bytes=512 * 1024)
    async with passthrough(handler=handler, bounds=bounds) as proxy:
        client = await proxy.connect()
        body = b"a" * 32 * 1024 * 1024
        sending = asyncio.create_task(client.send(http_request("/x", method="POST", body=body)))
        for _ in range(50):
            await asyncio.sleep(0.005)
        assert not sending.done()
        think.set()
        assert (await client.read_response()).status == 413
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await client.close()
