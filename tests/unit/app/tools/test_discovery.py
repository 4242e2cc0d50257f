"""Servers are asked when their proxies start, on request and from time to time; a slow one takes nobody's time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app import clock
from app.errors import ValidationFailed
from app.fleet.schemas import ProxyView, UpdateProxy
from app.tools import discovery as module
from app.tools.errors import DiscoveryFailed, NotServing
from proxies.contract import Discover, Observed
from tests.support.declarations import observation, tool
from tests.support.features import ADMIN, Bench


class Servers:
    """Plays the workers: servers that answer, and those that never do."""

    def __init__(self, bench: Bench, *silent: str) -> None:
        self.bench = bench
        self.silent = set(silent)
        self.asked: list[Discover] = []
        bench.fleet.answer_orders = self._answer

    def _answer(self, order: Any) -> None:
        if isinstance(order, Discover):
            self.asked.append(order)
            if order.proxy_id not in self.silent:
                seen = observation(order.proxy_id, (tool("read"),), id=order.id, trigger=order.trigger)
                self.bench.fleet.hooks.on_tools(Observed(seen))

    def times(self, proxy: ProxyView) -> int:
        return sum(order.proxy_id == proxy.id for order in self.asked)


async def made(bench: Bench, number: int, **changes: Any) -> ProxyView:
    fields = {"type": "mcp", "target_url": f"http://server-{number}.test/mcp", "policy_names": [], **changes}
    return await bench.proxy(f"server-{number}", 4000 + number, **fields)


async def settle(bench: Bench) -> None:
    await bench.features.discovery.idle()
    await bench.features.tool_intake.idle()


async def test_T_04_a_server_is_asked_when_its_proxy_comes_up_and_once_only(bench: Bench) -> None:
    servers = Servers(bench)
    proxy = await made(bench, 1)
    await bench.features.proxies.start(ADMIN, proxy.id)
    await settle(bench)
    assert [order.trigger for order in servers.asked] == ["connect"]
    await bench.features.proxies.start(ADMIN, proxy.id)  # It runs already.
    await settle(bench)
    assert servers.times(proxy) == 1
    await bench.features.proxies.stop(ADMIN, proxy.id)
    await bench.features.proxies.start(ADMIN, proxy.id)
    await settle(bench)
    assert servers.times(proxy) == 2


async def test_SYP_RUG_8_servers_are_asked_when_they_are_due_and_the_next_time_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers(bench)
    proxy, never = await made(bench, 1), await made(bench, 2, discovery_interval_hours=0)
    for one in (proxy, never):
        await bench.features.proxies.start(ADMIN, one.id)
    await settle(bench)
    await bench.features.discovery.run_due()
    await settle(bench)
    assert (servers.times(proxy), servers.times(never)) == (1, 1)
    view = await bench.features.tools.server(ADMIN, proxy.id)
    assert view.discovered_at is not None
    assert view.next_discovery_at is not None
    assert view.next_discovery_at - view.discovered_at == timedelta(hours=6)
    assert (await bench.features.tools.server(ADMIN, never.id)).next_discovery_at is None
    later = clock.utcnow() + timedelta(hours=7)
    monkeypatch.setattr(clock, "utcnow", lambda: later)
    await bench.features.discovery.run_due()
    await settle(bench)
    assert (servers.times(proxy), servers.times(never)) == (2, 1)
    assert servers.asked[-1].trigger == "timer"
    assert "tool_discovery" in bench.features.scheduler.reports


async def test_SYP_RUG_8_five_servers_at_once_and_a_silent_one_delays_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.3)
    proxies = [await made(bench, number) for number in range(7)]
    servers = Servers(bench, *(proxy.id for proxy in proxies[:6]))
    for proxy in proxies:
        await bench.features.proxies.start(ADMIN, proxy.id)
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while len(servers.asked) < module.PLACES:
            await asyncio.sleep(0.01)
    assert len(servers.asked) == module.PLACES
    await settle(bench)
    assert len(servers.asked) == 7
    assert bench.features.discovery.since(proxies[0].id) is None
    found = await bench.features.tools.tools(ADMIN, proxies[6].id)
    assert [one.name for one in found.tools] == ["read"]


async def test_who_asks_meanwhile_waits_for_the_same_answer_and_is_told_why_there_is_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await made(bench, 1)
    with pytest.raises(NotServing):
        await bench.features.discovery.discover(proxy.id)
    servers = Servers(bench, proxy.id)
    with monkeypatch.context() as impatient:
        impatient.setattr(module, "DEADLINE_SECONDS", 0.2)
        await bench.features.proxies.start(ADMIN, proxy.id)
        with pytest.raises(DiscoveryFailed, match="did not answer"):
            await bench.features.discovery.discover(proxy.id)
        await settle(bench)
    assert servers.times(proxy) == 1

    def fail(order: Any) -> None:
        if isinstance(order, Discover):
            seen = observation(proxy.id, id=order.id, failure="The server wants a login.")
            bench.fleet.hooks.on_tools(Observed(seen))

    bench.fleet.answer_orders = fail
    with pytest.raises(DiscoveryFailed, match="wants a login"):
        await bench.features.discovery.discover(proxy.id)
    await settle(bench)
    assert (await bench.features.tools.server(ADMIN, proxy.id)).failure == "The server wants a login."


async def test_an_interval_is_one_to_a_hundred_and_sixty_eight_hours(bench: Bench) -> None:
    proxy = await made(bench, 1)
    with pytest.raises(ValidationFailed):
        await bench.features.proxies.update(ADMIN, proxy.id, UpdateProxy(discovery_interval_hours=169))
