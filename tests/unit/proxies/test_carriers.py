"""Carriers are asked whether they may stay, at every snapshot and from time to time (W-03)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxies import carriers as carriers_module
from proxies.carriers import Carriers


class Connection:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.arrived = asyncio.Event()

    def recheck(self, proxy: Any) -> None:
        self.asked.append(proxy)
        self.arrived.set()


async def serve(_request: Any, _response: Any) -> None: ...


async def test_W_03_an_open_carrier_is_asked_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers_module, "RECHECK_SECONDS", 0.01)
    carriers = Carriers(serve)
    proxy: Any = object()
    carriers.recheck(proxy)
    connection = Connection()
    carriers.add(connection)
    assert len(carriers) == 1
    for _ in range(2):
        async with asyncio.timeout(10):
            await connection.arrived.wait()
        connection.arrived.clear()
    carriers.discard(connection)
    carriers.discard(connection)
    assert len(carriers) == 0
    assert set(connection.asked) == {proxy}


async def test_what_outlives_a_carrier_is_given_up_after_a_while() -> None:
    carriers = Carriers(serve)
    stopped = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await carriers.settle(0)
    carriers.start(endless())
    await asyncio.sleep(0)
    await carriers.settle(0.01)
    async with asyncio.timeout(10):
        await stopped.wait()
