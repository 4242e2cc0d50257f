"""HTTP-20, LIM-07: reuse of upstream connections, the one case in which a request is sent again, and the pool's bound."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxies.transport.client_connection import LostBeforeAnswer, UpstreamConnection
from proxies.transport.errors import UpstreamError
from proxies.transport.limits import DEFAULT_BOUNDS
from proxies.transport.pool import UpstreamPool
from proxies.transport.upstream_response import UpstreamResponse
from tests.passthrough import LIMITS, passthrough
from tests.rawpeer import Script, Upstream, UpstreamPeer, http_request, http_response


async def _race(method: str, rounds: int) -> tuple[list[int], Upstream, list[str]]:
    """An upstream that answers one request on a connection and closes it the moment the next one arrives."""

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"first"))
        # The next request is received in full and executed, but the connection dies before any answer.
        if await peer.read_request() is not None:
            await peer.reset()

    statuses = []
    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        for _ in range(rounds):
            client = await proxy.connect()
            await client.send(http_request("/warm", method=method))
            assert (await client.read_response()).status in (200, 502)
            await client.send(http_request("/again", method=method, body=b"x" if method == "POST" else b""))
            statuses.append((await client.read_response()).status)
            await client.close()
    return statuses, upstream, proxy.outcomes


async def test_HTTP_20_a_post_is_never_executed_twice() -> None:
    statuses, upstream, _ = await _race("POST", 20)
    assert set(statuses) <= {200, 502}
    assert 502 in statuses
    assert len(upstream.requests) == 40  # One for each that the client sent.


async def test_HTTP_20_an_idempotent_request_is_repeated_once_on_a_new_connection() -> None:
    statuses, upstream, outcomes = await _race("GET", 20)
    assert statuses == [200] * 20
    assert outcomes == ["complete"] * 40
    assert len(upstream.requests) > 40


async def test_HTTP_20_not_even_an_idempotent_request_is_repeated_on_a_fresh_connection() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.reset()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        assert (await client.read_response()).status == 502
        assert len(upstream.requests) == 1
        await client.close()


async def test_HTTP_20_after_the_first_byte_of_an_answer_nothing_is_repeated() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"first"))
        if await peer.read_request() is not None:
            await peer.send(b"H")
            await peer.reset()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/a"))
        assert (await client.read_response()).status == 200
        await client.send(http_request("/b"))
        assert (await client.read_response()).status == 502
        assert [request.target for request in upstream.requests] == ["/a", "/b"]
        await client.close()


async def test_HTTP_20_an_idle_connection_that_was_closed_is_noticed_before_writing() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"one"))
        await peer.close()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        for _ in range(20):
            response = await proxy.pool.request("POST", "/x", [], b"body")
            assert await response.read(10) == b"one"
            # The FIN may still be on its way; a POST must not be lost to it, so the test waits until it is here.
            while proxy.pool.idle_connections:
                await asyncio.sleep(0)
        assert len(upstream.requests) == len(upstream.connections) == 20


async def test_HTTP_20_connection_close_from_the_upstream_is_honoured() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"one", headers=("Connection: close",)))
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("POST", "/x", [], b"body")
        assert await response.read(10) == b"one"
        assert proxy.pool.idle_connections == 0
        await upstream.connections[0].gone.wait()


async def test_HTTP_20_connections_are_reused() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        assert proxy.pool is not None
        for _ in range(10):
            await (await proxy.pool.request("POST", "/x", [], b"body")).read(100)
        assert len(upstream.connections) == 1
        assert (proxy.pool.connections, proxy.pool.idle_connections) == (1, 1)


@pytest.mark.nightly
async def test_HTTP_20_race_of_a_thousand() -> None:
    statuses, upstream, _ = await _race("POST", 1000)
    assert set(statuses) <= {200, 502}
    assert len(upstream.requests) == 2000


async def _get(pool: UpstreamPool, target: str) -> bytes:
    return await (await pool.request("GET", target, [], b"", idempotent=True)).read(100)


def holding(release: asyncio.Event) -> Script:
    """An upstream that answers with the target, `/hold` only after the event."""

    async def script(peer: UpstreamPeer) -> None:
        while (request := await peer.read_request()) is not None:
            if request.target == "/hold":
                await release.wait()
            await peer.send(http_response(200, request.target.encode()))

    return script


async def test_LIM_07_a_request_that_gets_no_connection_in_time_is_refused() -> None:
    limits = msgspec.structs.replace(LIMITS, max_upstream_connections=1, connect_timeout_seconds=0.1)
    async with Upstream(holding(asyncio.Event())) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        pool = proxy.pool
        assert pool is not None
        held = asyncio.create_task(_get(pool, "/hold"))
        await upstream.wait_for_requests(1)
        with pytest.raises(UpstreamError) as caught:
            await _get(pool, "/late")
        assert (caught.value.status, caught.value.code) == (503, "upstream_busy")
        assert len(upstream.requests) == 1
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)


async def test_LIM_07_requests_get_a_busy_upstream_in_the_order_in_which_they_came() -> None:
    release = asyncio.Event()
    limits = msgspec.structs.replace(LIMITS, max_upstream_connections=1)
    async with Upstream(holding(release)) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        pool = proxy.pool
        assert pool is not None
        held = asyncio.create_task(_get(pool, "/hold"))
        await upstream.wait_for_requests(1)
        waiting = [asyncio.create_task(_get(pool, f"/{number}")) for number in range(3)]
        gone = asyncio.create_task(_get(pool, "/gone"))
        last = asyncio.create_task(_get(pool, "/last"))
        await asyncio.sleep(0)
        gone.cancel()
        release.set()
        assert await asyncio.gather(held, *waiting, last) == [b"/hold", b"/0", b"/1", b"/2", b"/last"]
        assert [request.target for request in upstream.requests] == ["/hold", "/0", "/1", "/2", "/last"]
        assert len(upstream.connections) == 1


@pytest.mark.interpreted
async def test_a_turn_given_to_a_request_that_leaves_goes_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    release = asyncio.Event()
    limits = msgspec.structs.replace(LIMITS, max_upstream_connections=1)
    async with Upstream(holding(release)) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        pool = proxy.pool
        assert pool is not None
        held = asyncio.create_task(_get(pool, "/hold"))
        await upstream.wait_for_requests(1)
        leaving = asyncio.create_task(_get(pool, "/leaving"))
        staying = asyncio.create_task(_get(pool, "/staying"))
        await asyncio.sleep(0)
        wake_next = pool._wake_next

        def wake_and_leave(connection: UpstreamConnection | None) -> bool:
            woken = wake_next(connection)
            leaving.cancel()  # In the very moment in which it was given its turn.
            return woken

        monkeypatch.setattr(pool, "_wake_next", wake_and_leave)
        release.set()
        assert await held == b"/hold"
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await staying == b"/staying"
        assert [request.target for request in upstream.requests] == ["/hold", "/staying"]
        assert len(upstream.connections) == 1


async def test_HTTP_20_at_capacity_a_repetition_replaces_an_idle_connection() -> None:
    doomed = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        while (request := await peer.read_request()) is not None:
            if request.target == "/doomed" and not doomed.is_set():
                doomed.set()
                await peer.reset()
                return
            await both.wait()
            await peer.send(http_response(200, request.target.encode()))

    both = asyncio.Event()
    limits = msgspec.structs.replace(LIMITS, max_upstream_connections=2)
    async with Upstream(script) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        pool = proxy.pool
        assert pool is not None
        pair = [asyncio.create_task(_get(pool, f"/{number}")) for number in range(2)]
        await upstream.wait_for_requests(2)
        both.set()
        assert await asyncio.gather(*pair) == [b"/0", b"/1"]
        assert pool.idle_connections == 2
        assert await _get(pool, "/doomed") == b"/doomed"
        assert len(upstream.connections) == 3
        assert pool.connections <= 2


async def test_a_refused_connection_gives_its_slot_back() -> None:
    async with Upstream() as upstream:
        url = upstream.url
    limits = msgspec.structs.replace(LIMITS, max_upstream_connections=1)
    pool = UpstreamPool(url, limits, None)
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await _get(pool, "/")
    assert pool.connections == 0


async def test_HTTP_17_a_connection_that_was_cut_before_its_first_request_fails_it_at_once() -> None:
    loop = asyncio.get_running_loop()
    lost: list[UpstreamConnection] = []
    async with Upstream() as upstream:
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, DEFAULT_BOUNDS, lost.append, lost.append), "127.0.0.1", upstream.port
        )
        connection.data_received(b"HTTP/1.1 200 OK")  # Nobody has asked yet.
        assert connection.closed
        response = UpstreamResponse("GET", DEFAULT_BOUNDS)
        connection.begin(response, b"", first_byte_seconds=60, idle_seconds=60, total_deadline=loop.time() + 60)
        with pytest.raises(UpstreamError, match="without an answer"):
            await response.wait_head()
        while not lost:
            await asyncio.sleep(0)


async def test_HTTP_17_what_an_upstream_says_before_the_request_is_out_answers_nothing() -> None:
    async def script(peer: UpstreamPeer) -> None:
        while await peer.read_request() is not None:
            await peer.send(http_response(200, b"yes"))

    loop = asyncio.get_running_loop()
    gone: list[UpstreamConnection] = []
    async with Upstream(script) as upstream:
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, DEFAULT_BOUNDS, gone.append, gone.append), "127.0.0.1", upstream.port
        )
        response = UpstreamResponse("GET", DEFAULT_BOUNDS)
        connection.begin(
            response,
            http_request("/"),
            first_byte_seconds=10,
            idle_seconds=10,
            total_deadline=loop.time() + 10,
        )
        # It was on its way while the connection was idle, and comes before the end of the round.
        connection.data_received(http_response(200, b"planted"))
        with pytest.raises(LostBeforeAnswer, match="before it was asked"):
            await response.wait_head()
        assert connection.closed
