"""Descriptors: none is left behind by coming and going, and running out of them hurts nobody for long."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

from app.fleet.supervisor import ProxyState
from tests.support.fleet import KEY, Bench, configuration, held_upstream, proxy, running_fleet


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def worker_pid(bench: Bench) -> int:
    await bench.until(lambda: any(item.state == "running" for item in bench.fleet.workers()))
    return bench.fleet.workers()[0].pid


async def come_and_go(bench: Bench, cycles: int) -> None:
    """Random operations on random proxies; after each, what was asked for is what is."""
    chance = random.Random(7)
    proxies = bench.configuration.proxies
    running: set[str] = set()
    for _ in range(cycles):
        item = chance.choice(proxies)
        match chance.choice(["start", "stop", "restart", "refresh", "call"]):
            case "start":
                assert (await bench.fleet.start_proxy(item.id)).state is ProxyState.RUNNING
                running.add(item.id)
            case "stop":
                assert (await bench.fleet.stop_proxy(item.id)).state is ProxyState.STOPPED
                running.discard(item.id)
            case "restart":
                assert (await bench.fleet.restart_proxy(item.id)).state is ProxyState.RUNNING
                running.add(item.id)
            case "refresh":
                await bench.fleet.refresh()
            case "call" if item.id in running:
                assert (await bench.ask(item.id)).status_code == 200
        for other in proxies:
            await bench.until(
                lambda other=other: (bench.state(other.id) is ProxyState.RUNNING) == (other.id in running)
            )
    for item in proxies:
        await bench.fleet.stop_proxy(item.id)
    await bench.until(lambda: {bench.state(item.id) for item in proxies} == {ProxyState.STOPPED})


@pytest.mark.parametrize(("wanted", "given"), [(None, str(256 * 1024)), ("1000000", "1000000")])
async def test_worker_gives_large_pieces_of_memory_back_unless_the_operator_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, given: str
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    if wanted is not None:
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", wanted)
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        environment = Path(f"/proc/{await worker_pid(bench)}/environ").read_bytes().split(b"\0")
    assert f"MALLOC_MMAP_THRESHOLD_={given}".encode() in environment


@pytest.mark.parametrize("cycles", [60, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
async def test_RUN_03_coming_and_going_leaves_no_descriptor_and_no_task_behind(tmp_path: Path, cycles: int) -> None:
    async with held_upstream() as upstream:
        proxies = [proxy(name, upstream.url) for name in "abc"]
        async with running_fleet(tmp_path, proxies) as bench:
            pid = await worker_pid(bench)
            await come_and_go(bench, 15)  # Reaches what stays: executor threads, caches.
            ours, theirs = descriptors(os.getpid()), descriptors(pid)
            await come_and_go(bench, cycles)
            await bench.until(lambda: descriptors(pid) <= theirs)
            await bench.until(lambda: descriptors(os.getpid()) <= ours)
            assert await worker_pid(bench) == pid
            bench.configuration = configuration([])
            await bench.fleet.refresh()
            assert bench.fleet.statuses() == {}


async def test_LIM_08_worker_without_free_descriptors_keeps_its_streams_and_recovers(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        poor = ("sh", "-c", 'ulimit -n 64; exec "$0" -m app worker "$@"', sys.executable)
        bench.fleet._slots[0]._command = poor
        os.kill(await worker_pid(bench), signal.SIGKILL)
        await bench.until(lambda: bench.fleet.worker_deaths == 1)
        pid = await worker_pid(bench)
        await bench.fleet.start_proxy("prx_a")
        address = ("127.0.0.1", bench.config("prx_a").port)
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        async with bench.client.stream(
            "POST",
            f"http://{address[0]}:{address[1]}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {KEY}"},
        ) as answer:
            lines = answer.aiter_lines()
            assert "first" in await anext(lines)
            clients = []
            for _ in range(300):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(address)
                clients.append(client)
            await bench.until(lambda: descriptors(pid) >= 60)
            upstream.release.set()
            assert [line async for line in lines if line][-1] == "data: [DONE]"
            for client in clients:
                client.close()
        await bench.until(lambda: descriptors(pid) < 50)
        async with asyncio.timeout(20):
            assert (await bench.ask("prx_a")).status_code == 200
        assert await worker_pid(bench) == pid
