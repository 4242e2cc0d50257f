"""LIM-13: an upstream that never answers is left alone for a while, and found again when it does."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxies.transport import breaker as module
from proxies.transport.breaker import FAILURES_TO_OPEN, MAX_PAUSE_SECONDS, Breaker
from tests.passthrough import PassThrough, passthrough
from tests.rawpeer import Upstream, UpstreamPeer, http_request, http_response


def opened(at: float = 0.0) -> Breaker:
    """A breaker whose upstream failed as often in a row as it may."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.wait_seconds(at) == 0
        breaker.failed(at, "refused")
    return breaker


def test_LIM_13_the_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(5):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed(0.0, "refused")
        assert not breaker.is_open
        breaker.answered()
    assert opened().is_open
    assert (opened().last_failure, repr(opened())) == ("refused", "<Breaker 10 failures in a row>")


def test_LIM_13_one_request_tries_after_each_pause_and_pauses_grow_to_a_bound() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        pause = breaker.wait_seconds(now)
        pauses.append(pause)
        now += pause
        assert breaker.wait_seconds(now) == 0, "one may try"
        assert breaker.wait_seconds(now) > 0, "and nobody beside it"
    assert pauses == [1, 2, 4, 8, 16, 30, 30, MAX_PAUSE_SECONDS]


def test_LIM_13_failures_of_requests_that_were_under_way_prolong_nothing() -> None:
    breaker = opened(at=0.0)
    for _ in range(100):
        breaker.failed(0.9, "timeout")
    assert breaker.wait_seconds(0.9) == pytest.approx(0.1)


def test_LIM_13_an_answer_closes_the_breaker() -> None:
    breaker = opened()
    assert breaker.wait_seconds(1.0) == 0
    breaker.answered()
    assert not breaker.is_open
    assert [breaker.wait_seconds(1.0) for _ in range(3)] == [0, 0, 0]


async def status_of(proxy: PassThrough) -> int:
    """What a client gets for one call."""
    client = await proxy.connect()
    await client.send(http_request("/x", method="POST", body=b"abc"))
    answer = await client.read_response()
    await client.close()
    return answer.status


async def test_LIM_13_calls_of_a_dead_upstream_fail_at_once_and_go_on_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 3600.0)
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
    async with passthrough(f"http://127.0.0.1:{reserved.getsockname()[1]}") as proxy:
        assert [await status_of(proxy) for _ in range(FAILURES_TO_OPEN)] == [502] * FAILURES_TO_OPEN
        assert [await status_of(proxy) for _ in range(3)] == [503] * 3
        assert proxy.outcomes[-1] == "upstream_circuit_open"
        assert proxy.pool is not None
        proxy.pool._breaker._next_try_at = 0.0  # The pause is over.
        reserved.listen(8)
        answering = asyncio.create_task(_answer_one(reserved))
        assert await status_of(proxy) == 200
        await answering
    reserved.close()


async def _answer_one(listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    connection, _ = await loop.sock_accept(listening)
    with connection:
        await loop.sock_recv(connection, 4096)
        await loop.sock_sendall(connection, http_response(200, b"back", headers=("Connection: close",)))


async def test_LIM_13_an_upstream_that_accepts_and_never_answers_counts_and_one_that_answers_badly_does_not() -> None:
    silent = True

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        if not silent:
            await peer.send(http_response(500, b"broken"))
        await peer.close()

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        for _ in range(FAILURES_TO_OPEN):
            assert await status_of(proxy) == 502
        seen = len(upstream.requests)
        assert await status_of(proxy) == 503
        assert len(upstream.requests) == seen, "nothing is sent while the breaker is open"
    silent = False
    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        assert [await status_of(proxy) for _ in range(2 * FAILURES_TO_OPEN)] == [500] * 2 * FAILURES_TO_OPEN
