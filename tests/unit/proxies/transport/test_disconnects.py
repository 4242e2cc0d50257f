"""LIM-10, LIM-11: clients that leave, and pools and listeners that are closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from proxies.transport.errors import UpstreamError
from proxies.transport.http1_server import HTTPListener, Request, Response
from tests.passthrough import LIMITS, listening_socket, passthrough
from tests.rawpeer import HANG_SECONDS, RawClient, Upstream, UpstreamPeer, http_request
from tests.upstream_scripts import EVENT, STREAM_HEAD, silent, stalling


async def leave_with_fin(client: RawClient) -> None:
    await client.close()


async def leave_with_rst(client: RawClient) -> None:
    await client.reset()


LEAVE = pytest.mark.parametrize("leave", [leave_with_fin, leave_with_rst])


Leave = Callable[[RawClient], Awaitable[None]]


@LEAVE
async def test_LIM_10_a_client_that_leaves_before_the_end_of_its_body(leave: Leave) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", headers=("Content-Length: 100",)) + b"abc")
        async with asyncio.timeout(HANG_SECONDS):
            while not proxy.requests:
                await asyncio.sleep(0.005)
        await leave(client)
        outcome = (await proxy.wait_for_outcomes(1))[0]
        assert outcome in ("client_closed", "bad_body")
        assert upstream.connections == []


@LEAVE
async def test_LIM_10_a_client_that_leaves_while_the_upstream_thinks(leave: Leave) -> None:
    async with Upstream(silent) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", body=b"abc"))
        await upstream.wait_for_requests(1)
        await leave(client)
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()
        assert proxy.pool is not None
        assert proxy.pool.idle_connections == 0


@LEAVE
async def test_LIM_10_a_client_that_leaves_in_the_middle_of_an_answer(leave: Leave) -> None:
    async def endless(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD)
        try:
            while True:
                await peer.send(EVENT)
                await asyncio.sleep(0.005)
        except ConnectionError:
            peer.gone.set()

    async with Upstream(endless) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.read_until(b"data: 1")
        await leave(client)
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()


async def _vanish(count: int, leave: Leave) -> None:
    async with Upstream(stalling) as upstream:
        limits = msgspec.structs.replace(LIMITS, max_upstream_connections=count)
        async with passthrough(upstream.url, limits=limits) as proxy:
            clients = [await proxy.connect() for _ in range(count)]
            for client in clients:
                await client.send(http_request("/stream"))
            for client in clients:
                await client.read_until(b"data: 1\n\n")
            assert (proxy.listener.connections, proxy.listener.in_flight) == (count, count)
            for client in clients:
                await leave(client)
            assert await proxy.wait_for_outcomes(count) == ["client_closed"] * count
            async with asyncio.timeout(HANG_SECONDS):
                for peer in upstream.connections:
                    await peer.gone.wait()
                while proxy.listener.connections:
                    await asyncio.sleep(0.01)
            assert proxy.listener.in_flight == 0
            assert proxy.pool is not None
            assert (proxy.pool.connections, proxy.pool.idle_connections) == (0, 0)


@LEAVE
async def test_LIM_11_streams_of_clients_that_vanish_leave_nothing_behind(leave: Leave) -> None:
    await _vanish(50, leave)


@pytest.mark.nightly
@LEAVE
async def test_LIM_11_a_thousand_streams(leave: Leave) -> None:
    await _vanish(900, leave)


async def test_a_caller_that_is_cancelled_leaves_no_connection_behind() -> None:
    async with Upstream(stalling) as upstream, passthrough(upstream.url) as proxy:
        pool = proxy.pool
        assert pool is not None
        response = await pool.request("GET", "/", [], b"")
        assert await anext(response) == b"data: 1\n\n"
        reading = asyncio.create_task(response.read(1000))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await upstream.connections[0].gone.wait()
        assert pool.idle_connections == 0
        with pytest.raises(UpstreamError):
            await response.read(1000)
        response.close()


async def test_a_closed_pool_finishes_its_calls_and_keeps_no_connection() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        pool = proxy.pool
        assert pool is not None
        await (await pool.request("GET", "/a", [], b"")).read(100)
        await pool.aclose()
        assert await (await pool.request("GET", "/b", [], b"")).read(100) == b"GET /b 0"
        async with asyncio.timeout(HANG_SECONDS):
            for peer in upstream.connections:
                await peer.gone.wait()
        assert pool.idle_connections == 0


async def test_a_listener_that_was_never_started_lets_its_socket_go() -> None:
    async def handler(request: Request, response: Response) -> None:
        response.send(204, [])

    sock = listening_socket()
    listener = HTTPListener(sock, handler, LIMITS, None)
    await listener.drain(0)
    assert sock.fileno() == -1
