"""LIM-03..05, 18: slow clients, idle connections and the end of a listener."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxies.contract import Limits
from proxies.transport.http1_server import Request, Response
from tests.passthrough import LIMITS, QUICK, SHORT_BODY, passthrough
from tests.rawpeer import HANG_SECONDS, RawClient, Upstream, UpstreamPeer, chunked, http_request, http_response

SHORT_HEAD = msgspec.structs.replace(LIMITS, header_timeout_seconds=0.5, keepalive_timeout_seconds=0.3)


async def _slow_heads(count: int, limits: Limits) -> None:
    """Connections that send a head without end, byte by byte, next to normal traffic."""
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits) as proxy:

        async def slow() -> int:
            client = await proxy.connect()
            await client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n")
            feeding = asyncio.create_task(feed(client))
            answer = await client.read_message()
            await client.read_to_end()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await client.close()
            return answer.status if answer is not None else 0

        async def feed(client: RawClient) -> None:
            while True:
                await client.send(b"X: a\r\n")
                await asyncio.sleep(limits.header_timeout_seconds / 8)

        slow_ones = [asyncio.create_task(slow()) for _ in range(count)]
        client = await proxy.connect()
        for number in range(20):
            await client.send(http_request(f"/{number}"))
            assert (await client.read_response()).status == 200
        await client.close()
        assert await asyncio.gather(*slow_ones) == [408] * count
        assert len(upstream.requests) == 20


async def test_LIM_03_slow_heads_meet_their_deadline() -> None:
    await _slow_heads(30, SHORT_HEAD)


@pytest.mark.nightly
async def test_LIM_03_a_thousand_slow_heads() -> None:
    await _slow_heads(900, msgspec.structs.replace(LIMITS, header_timeout_seconds=3.0))


async def test_LIM_03_a_silent_connection_is_closed_without_a_word() -> None:
    async with passthrough("http://127.0.0.1:9", limits=SHORT_HEAD) as proxy:
        client = await proxy.connect()
        assert await client.read_to_end() == b""
        assert not client.was_reset
        assert proxy.refused == []
        await client.close()


@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_LIM_04_a_slow_body_is_cut_at_its_deadline(coding: str) -> None:
    async with Upstream() as upstream, passthrough(upstream.url, limits=SHORT_BODY) as proxy:
        client = await proxy.connect()
        framing = "Content-Length: 1000" if coding == "length" else "Transfer-Encoding: chunked"
        await client.send(http_request("/x", method="POST", headers=(framing,)))

        async def feed() -> None:
            while True:
                await client.send(b"a" if coding == "length" else b"1\r\na\r\n")
                await asyncio.sleep(0.02)

        feeding = asyncio.create_task(feed())
        answer = await client.read_response()
        assert (answer.status, answer.header("connection")) == (408, "close")
        await client.read_to_end()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        assert proxy.outcomes == ["body_timeout"]
        assert upstream.connections == []
        await client.close()


async def test_LIM_04_a_body_above_the_minimum_rate_may_take_longer() -> None:
    bounds = msgspec.structs.replace(QUICK, min_body_rate=1000)
    limits = msgspec.structs.replace(LIMITS, body_timeout_seconds=0.1)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits, bounds=bounds) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", headers=("Content-Length: 6000",)))
        for _ in range(6):
            await client.send(b"a" * 1000)
            await asyncio.sleep(0.05)
        assert (await client.read_response()).body == b"POST /x 6000"
        await client.close()


async def test_LIM_05_a_slow_reader_slows_the_upstream_and_is_cut_off() -> None:
    sent = 0
    piece = b"x" * 64 * 1024

    async def endless(peer: UpstreamPeer) -> None:
        nonlocal sent
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await peer.send(chunked(piece, last=False))
                sent += len(piece)
        except ConnectionError:
            peer.gone.set()

    bounds = msgspec.structs.replace(QUICK, write_stall_seconds=0.5)
    async with Upstream(endless) as upstream, passthrough(upstream.url, bounds=bounds) as proxy:
        client = await proxy.connect(receive_buffer_bytes=4096)
        await client.send(http_request("/big"))
        await client.read_until(b"\r\n\r\n")
        client.pause()
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        await upstream.connections[0].gone.wait()
        # What was in flight sat in kernel buffers; of the endless stream only a bounded part was ever taken.
        assert sent < 64 * 1024 * 1024
        client.resume()
        await client.close()


async def test_LIM_05_the_proxy_holds_a_bounded_part_of_a_stream() -> None:
    unsent: list[int] = []

    async def handler(request: Request, response: Response) -> None:
        response.start(200, [])
        connection = response._connection
        for _ in range(200):
            await response.write(b"x" * QUICK.piece_bytes)
            unsent.append(connection._transport.get_write_buffer_size())  # type: ignore[attr-defined]
        response.finish()

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect(receive_buffer_bytes=16384)
        await client.send(http_request("/big"))
        answer = await client.read_response()
        assert (len(answer.body), answer.complete) == (200 * QUICK.piece_bytes, True)
        assert max(unsent) <= 256 * 1024
        await client.close()


async def test_LIM_05_a_client_that_never_reads_a_whole_answer_is_cut_off() -> None:
    async def handler(request: Request, response: Response) -> None:
        response.send(200, [], b"x" * (32 * 1024 * 1024))

    bounds = msgspec.structs.replace(QUICK, write_stall_seconds=0.2)
    async with passthrough(handler=handler, bounds=bounds) as proxy:
        client = await proxy.connect(receive_buffer_bytes=4096)
        await client.send(http_request("/big"))
        client.pause()
        async with asyncio.timeout(HANG_SECONDS):
            while not proxy.listener.connections:
                await asyncio.sleep(0.01)
            while proxy.listener.connections:
                await asyncio.sleep(0.01)
        client.resume()
        await client.close()


async def test_LIM_18_an_idle_connection_is_closed_after_its_time() -> None:
    async with Upstream() as upstream, passthrough(upstream.url, limits=SHORT_HEAD) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        answer = await client.read_response()
        assert answer.header("connection") is None
        assert await client.read_to_end() == b""
        assert not client.was_reset
        await client.close()


async def test_LIM_18_a_second_head_has_its_own_deadline() -> None:
    limits = msgspec.structs.replace(LIMITS, header_timeout_seconds=0.5, keepalive_timeout_seconds=60)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        assert (await client.read_response()).status == 200
        await client.send(b"GET / HT")
        assert (await client.read_response()).status == 408
        await client.close()


@pytest.mark.parametrize("what", ["requests", "age"])
async def test_LIM_18_a_connection_has_a_last_request_and_says_so(what: str) -> None:
    bounds = (
        msgspec.structs.replace(QUICK, max_requests_per_connection=3)
        if what == "requests"
        else msgspec.structs.replace(QUICK, max_connection_age_seconds=0.0)
    )
    count = 3 if what == "requests" else 1
    async with Upstream() as upstream, passthrough(upstream.url, bounds=bounds) as proxy:
        client = await proxy.connect()
        for number in range(1, count + 1):
            await client.send(http_request())
            answer = await client.read_response()
            assert (answer.status, answer.header("connection")) == (200, "close" if number == count else None)
        assert await client.read_to_end() == b""
        await client.close()


@pytest.mark.parametrize(
    ("version", "field", "kept"),
    [
        ("HTTP/1.1", None, True),
        ("HTTP/1.1", "Connection: close", False),
        ("HTTP/1.1", "Connection: Keep-Alive, CLOSE", False),
        ("HTTP/1.0", None, False),
        ("HTTP/1.0", "Connection: keep-alive", True),
    ],
)
async def test_LIM_18_the_client_decides_about_keep_alive(version: str, field: str | None, kept: bool) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request(version=version, headers=(field,) if field else ()))
        answer = await client.read_response()
        assert answer.status == 200
        expected = "close" if not kept else ("keep-alive" if version == "HTTP/1.0" else None)
        assert answer.header("connection") == expected
        if kept:
            await client.send(http_request(version=version))
            assert (await client.read_response()).status == 200
        else:
            assert await client.read_to_end() == b""
        await client.close()


async def test_LIM_18_pooled_connections_are_closed_after_their_idle_time() -> None:
    limits = msgspec.structs.replace(LIMITS, upstream_keepalive_seconds=0.1)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits, bounds=QUICK) as proxy:
        pool = proxy.pool
        assert pool is not None
        await (await pool.request("GET", "/", [], b"")).read(100)
        assert pool.idle_connections == 1
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()
            while pool.connections:
                await asyncio.sleep(0.01)
        assert pool.idle_connections == 0


async def test_drain_finishes_what_is_in_flight_and_closes_what_is_idle() -> None:
    release = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await release.wait()
        await peer.send(http_response(200, b"finished"))

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        idle, busy = await proxy.connect(), await proxy.connect()
        await busy.send(http_request())
        await upstream.wait_for_requests(1)
        assert (proxy.listener.connections, proxy.listener.in_flight) == (2, 1)
        draining = asyncio.create_task(proxy.listener.drain(HANG_SECONDS))
        assert await idle.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            await proxy.connect()
        release.set()
        answer = await busy.read_response()
        assert (answer.body, answer.header("connection")) == (b"finished", "close")
        assert await busy.read_to_end() == b""
        await draining
        assert (proxy.listener.connections, proxy.listener.in_flight) == (0, 0)
        for client in (idle, busy):
            await client.close()


async def test_drain_cuts_what_is_left_at_its_deadline() -> None:
    async def silent(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.wait_gone()

    async with Upstream(silent) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        await upstream.wait_for_requests(1)
        await proxy.listener.drain(0.05)
        assert proxy.outcomes == ["client_closed"]
        assert (proxy.listener.connections, proxy.listener.in_flight) == (0, 0)
        assert await client.read_to_end() == b""
        await upstream.connections[0].gone.wait()
        await client.close()
