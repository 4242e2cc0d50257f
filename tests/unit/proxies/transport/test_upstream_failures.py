"""LIM-13: upstreams that refuse, stall, or vanish."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from tests.passthrough import LIMITS, QUICK, answer_of, passthrough
from tests.rawpeer import Upstream, UpstreamPeer, http_request, http_response
from tests.upstream_scripts import EVENT, STREAM_HEAD, silent, stalling


async def test_LIM_13_an_upstream_that_refuses() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
    try:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert await answer_of(url) == (502, "upstream_unreachable")
    finally:
        sock.close()


async def test_LIM_13_an_upstream_that_never_completes_the_connection() -> None:
    # A full backlog makes the kernel drop further SYNs, like a black hole.
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert await answer_of(url, connect_timeout_seconds=0.2) == (504, "upstream_connect_timeout")
    finally:
        for opened in (*fillers, sock):
            opened.close()


async def test_LIM_13_an_upstream_that_accepts_and_is_silent() -> None:
    async with Upstream(silent) as upstream:
        answer = await answer_of(upstream.url, first_byte_timeout_seconds=0.1)
        assert answer == (504, "upstream_first_byte_timeout")
        await upstream.connections[0].gone.wait()


async def test_LIM_13_an_upstream_that_sends_half_a_head() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        await peer.wait_gone()

    async with Upstream(script) as upstream:
        answer = await answer_of(upstream.url, first_byte_timeout_seconds=0.1)
        assert answer == (504, "upstream_first_byte_timeout")


async def test_LIM_13_silence_in_the_middle_of_a_stream_is_a_visible_end() -> None:
    limits = msgspec.structs.replace(LIMITS, idle_timeout_seconds=0.1)
    async with Upstream(stalling) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        answer = await client.read_response()
        assert (answer.status, answer.body, answer.complete) == (200, b"data: 1\n\n", False)
        assert proxy.outcomes == ["upstream_idle_timeout"]
        await upstream.connections[0].gone.wait()
        await client.close()


async def test_LIM_13_a_stream_that_flows_for_ever_meets_the_total_deadline() -> None:
    async def endless(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD)
        try:
            while True:
                await peer.send(EVENT)
                await asyncio.sleep(0.01)
        except ConnectionError:
            peer.gone.set()

    limits = msgspec.structs.replace(LIMITS, total_timeout_seconds=0.2)
    async with Upstream(endless) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        answer = await client.read_response()
        assert (answer.status, answer.complete) == (200, False)
        assert proxy.outcomes == ["upstream_total_timeout"]
        await client.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_LIM_13_an_upstream_that_closes_without_an_answer(how: str) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await (peer.close() if how == "fin" else peer.reset())

    async with Upstream(script) as upstream:
        assert await answer_of(upstream.url) == (502, "upstream_unreachable")


async def test_LIM_13_a_slow_consumer_is_not_an_idle_upstream() -> None:
    size = 2 * 1024 * 1024
    limits = msgspec.structs.replace(LIMITS, idle_timeout_seconds=0.4)

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"x" * size))
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        received = 0
        async for piece in response:
            if not received:
                await asyncio.sleep(0.8)  # Reading from the upstream is paused meanwhile, by us.
            received += len(piece)
            assert len(piece) <= QUICK.piece_bytes
        assert received == size
