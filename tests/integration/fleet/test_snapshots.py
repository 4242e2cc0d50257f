"""Configurations that workers refuse, and events that the database refuses for a while."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.fleet.supervisor import Configuration, ProxyState
from tests.support.fleet import (
    ATTACK,
    api_key,
    configuration,
    held_upstream,
    phrase_ruleset,
    proxy,
    running_fleet,
)


async def test_RUN_02_refused_configuration_keeps_the_old_one_and_says_why(tmp_path: Path) -> None:
    """Rules that were damaged on disk: the proxies that need them go on under the rules before, a revoked key opens
    nothing all the same, a stopped proxy stops, and the next good configuration clears it all up."""
    async with held_upstream() as upstream:
        a, b, c = (proxy(name, upstream.url) for name in "abc")
        async with running_fleet(tmp_path, [a, b, c]) as bench:
            for item in (a, b, c):
                assert (await bench.fleet.start_proxy(item.id)).state is ProxyState.RUNNING
            damaged = msgspec.structs.replace(phrase_ruleset(), digest="damaged", packs_sha256="0" * 64)
            bad = msgspec.structs.replace(a, ruleset="damaged")
            other_key = api_key("key_2", "ost_" + "z" * 43)
            bench.configuration = configuration([bad, b], rulesets=(phrase_ruleset(), damaged), api_keys=(other_key,))
            await bench.fleet.refresh()

            await bench.until(lambda: bench.state("prx_c") is ProxyState.STOPPED)
            assert bench.state("prx_b") is ProxyState.RUNNING
            status = bench.fleet.status("prx_a")
            assert status.state is ProxyState.DEGRADED
            assert "changed after it was compiled" in status.reason
            assert bench.fleet.running("prx_a") == a
            assert bench.fleet.running("prx_c") is None
            assert (await bench.ask("prx_a")).status_code == 401
            assert (await bench.ask("prx_a", key="ost_" + "z" * 43)).status_code == 200
            assert (await bench.ask("prx_a", ATTACK, key="ost_" + "z" * 43)).status_code == 403

            bench.configuration = configuration([a, b])
            await bench.fleet.refresh()
            await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
            assert bench.fleet.status("prx_a").reason == ""
            assert (await bench.ask("prx_a")).status_code == 200


def flip_a_bit(path: Path) -> None:
    """Damage a file whose length stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit], ids=["removed", "changed"])
async def test_RUN_02_a_later_worker_gets_rules_that_were_damaged_in_the_cache(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    kept = phrase_ruleset()
    paths = {"packs_path": tmp_path / "rules.packs", "database_path": tmp_path / "rules.db"}

    def compile_again() -> None:
        for name, path in paths.items():
            shutil.copy(getattr(kept, name), path)

    compile_again()
    source = msgspec.structs.replace(kept, **{name: str(path) for name, path in paths.items()})
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        bench.configuration = configuration([bench.config("prx_a")], rulesets=(source,))

        async def load() -> Configuration:
            compile_again()
            return bench.configuration

        bench.fleet._load_configuration = load
        await bench.fleet.refresh()
        assert (await bench.fleet.start_proxy("prx_a")).state is ProxyState.RUNNING
        for path in paths.values():
            damage(path)
        assert (await bench.ask("prx_a", ATTACK)).status_code == 403
        (worker,) = bench.fleet.workers()
        os.kill(worker.pid, signal.SIGKILL)
        await bench.until(
            lambda: [item.state for item in bench.fleet.workers() if item.pid != worker.pid] == ["running"]
        )
        await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
        assert (await bench.ask("prx_a", ATTACK)).status_code == 403


async def test_RUN_02_slow_load_of_an_older_state_does_not_undo_a_newer_one(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        config = proxy("a", upstream.url)
        async with running_fleet(tmp_path, [config]) as bench:
            await bench.fleet.start_proxy("prx_a")
            gate = asyncio.Event()
            loads = 0

            async def load() -> Configuration:
                nonlocal loads
                loads += 1
                committed = bench.configuration
                if loads == 1:
                    await gate.wait()
                return committed

            bench.fleet._load_configuration = load
            slow = asyncio.create_task(bench.fleet.refresh())
            await bench.until(lambda: loads == 1)
            bench.configuration = configuration([config], api_keys=())
            revoking = asyncio.create_task(bench.fleet.refresh())
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(slow, revoking)
            assert (await bench.ask("prx_a")).status_code == 401


async def test_RUN_09_events_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        await bench.fleet.start_proxy("prx_a")
        bench.ingest_error = ConnectionError("the database is away")
        seen = {(await bench.ask("prx_a", ATTACK)).headers["x-request-id"] for _ in range(5)}
        await bench.until(lambda: bench.ingestions >= 3)
        assert bench.calls == {}
        assert (await bench.ask("prx_a")).status_code == 200
        bench.ingest_error = None
        await bench.until(lambda: seen <= bench.calls.keys())
        await bench.until(lambda: len(bench.calls) == 6)
        assert (tmp_path / "spool").is_dir()
        assert list((tmp_path / "spool").iterdir()) == []


async def test_RUN_10_console_comes_up_when_the_configuration_cannot_be_loaded(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        await bench.fleet.stop()
        fleet = type(bench.fleet)(
            settings=bench.settings,
            load_configuration=_unreadable,
            ingest=bench._ingest,
            on_status=bench._on_status,
        )
        await fleet.start()
        assert fleet.statuses() == {}
        await fleet.stop()


async def _unreadable() -> object:
    raise ValueError("the configuration cannot be read")
