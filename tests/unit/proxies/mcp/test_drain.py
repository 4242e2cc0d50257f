"""Answers that nobody waits for: read to their end, within bounds (L-11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxies.contract import Limits
from proxies.mcp import drain
from proxies.mcp.drain import Drains, PatientResponse
from proxies.transport.errors import UpstreamTruncated
from proxies.transport.pool import UpstreamPool, UpstreamResponse
from tests.rawpeer import Upstream, UpstreamPeer, chunked

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Talker:
    """An upstream that sends one piece, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.rest = chunked(b"second", b"third")
        self.peer: UpstreamPeer | None = None

    async def __call__(self, peer: UpstreamPeer) -> None:
        self.peer = peer
        while await peer.read_request() is not None:
            await peer.send(HEAD + chunked(b"first", last=False))
            await self.go_on.wait()
            await peer.send(self.rest)


@pytest.fixture
async def talker() -> Talker:
    return Talker()


@pytest.fixture
async def pool(talker: Talker) -> AsyncIterator[UpstreamPool]:
    async with Upstream(talker) as upstream:
        pool = UpstreamPool(upstream.url, Limits(), None)
        yield pool
        await pool.aclose()


async def ask(pool: UpstreamPool) -> UpstreamResponse:
    return await pool.request("GET", "/", [], b"")


async def test_L_11_a_cancelled_reader_leaves_an_answer_that_can_be_drained(pool, talker) -> None:
    response = PatientResponse(await ask(pool))
    assert await anext(response) == b"first"
    reader = asyncio.ensure_future(response.__anext__())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    drains = Drains()
    drains.start(response, 10)
    assert len(drains) == 1
    talker.go_on.set()
    await drains.settle()
    assert (pool.connections, pool.idle_connections) == (1, 1)


async def test_a_patient_response_reads_on_after_a_cancelled_step(pool, talker) -> None:
    response = PatientResponse(await ask(pool))
    assert await anext(response) == b"first"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(response)
    talker.go_on.set()
    assert b"".join([piece async for piece in response]) == b"secondthird"


async def test_a_patient_response_can_be_read_whole_or_given_up(pool, talker) -> None:
    given_up = PatientResponse(await ask(pool))
    reader = asyncio.ensure_future(given_up.read(1000))
    await asyncio.sleep(0)
    given_up.close()
    with pytest.raises(asyncio.CancelledError):
        await reader
    talker.go_on.set()
    response = PatientResponse(await ask(pool))
    assert await response.read(1000) == b"firstsecondthird"
    assert response.status == 200
    assert response.headers.get("content-type") == "text/event-stream"


async def gone(talker: Talker) -> None:
    assert talker.peer is not None
    async with asyncio.timeout(10):
        await talker.peer.wait_gone()


async def test_a_drain_that_takes_too_long_is_given_up(pool, talker) -> None:
    drains = Drains()
    drains.start(await ask(pool), 0.01)
    await drains.settle()
    await gone(talker)


async def test_beyond_the_bound_an_answer_is_given_up_at_once(pool, talker) -> None:
    drains = Drains(max_drains=0)
    drains.start(await ask(pool), 1000)
    await drains.settle()
    await gone(talker)


async def test_a_drain_is_bounded_in_bytes(pool, talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "MAX_DRAIN_BYTES", 3)
    drains = Drains()
    drains.start(await ask(pool), 1000)
    await drains.settle()
    await gone(talker)


async def test_an_answer_that_is_still_on_its_way_is_drained_too(pool, talker) -> None:
    drains = Drains()
    talker.go_on.set()
    drains.start(asyncio.ensure_future(ask(pool)), 10)
    await drains.settle()
    assert (pool.connections, pool.idle_connections) == (1, 1)


async def test_a_failing_answer_ends_its_drain_quietly() -> None:
    async def failing() -> Any:
        raise UpstreamTruncated("cut")

    drains = Drains()
    drains.start(asyncio.ensure_future(failing()), 10)
    await drains.settle()
    assert len(drains) == 0
