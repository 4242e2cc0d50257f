"""Workers die in every way; clients wait a moment instead of being refused, and nothing that was reported is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from app.fleet import slot, worker
from app.fleet.restart import RestartPolicy
from app.fleet.supervisor import ProxyState
from tests.support.fleet import (
    ATTACK,
    DEADLINE_SECONDS,
    Bench,
    api_key,
    configuration,
    held_upstream,
    proxy,
    running_fleet,
)

ROOT = Path(__file__).resolve().parents[3]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def ready(bench: Bench, count: int = 1) -> list[int]:
    """The pids of the workers, once so many of them run."""
    await bench.until(lambda: len([item for item in bench.fleet.workers() if item.state == "running"]) == count)
    return [item.pid for item in bench.fleet.workers()]


@pytest.mark.parametrize("workers", [1, 2])
async def test_RUN_04_killed_worker_refuses_no_connection_and_loses_no_block(tmp_path: Path, workers: int) -> None:
    """kill -9 under load, three times: clients of the dying worker may lose an answer, but nobody is refused, and every
    block that a client saw is ingested once."""
    async with (
        held_upstream() as upstream,
        running_fleet(tmp_path, [proxy("a", upstream.url)], workers=workers) as bench,
    ):
        await ready(bench, workers)
        await bench.fleet.start_proxy("prx_a")
        seen: list[str] = []
        answered = 0
        done = asyncio.Event()

        async def load(number: int) -> None:
            nonlocal answered
            while not done.is_set():
                try:
                    answer = await bench.ask("prx_a", ATTACK if number % 2 else "hello")
                except httpx.ConnectError as error:
                    raise AssertionError("a connection was refused") from error
                except httpx.HTTPError:
                    continue  # The answer died with the worker; that is all that may happen.
                answered += 1
                assert answer.status_code == (403 if number % 2 else 200)
                if answer.status_code == 403:
                    seen.append(answer.headers["x-request-id"])

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(load(number))
            for _ in range(3):
                before = answered
                await bench.until(lambda before=before: answered >= before + 30)
                victims = await ready(bench, workers)
                os.kill(victims[0], signal.SIGKILL)
                await bench.until(lambda victim=victims[0]: victim not in [w.pid for w in bench.fleet.workers()])
                await ready(bench, workers)
            before = answered
            await bench.until(lambda: answered >= before + 30)
            done.set()
        assert len(seen) > 10
        await bench.until(lambda: set(seen) <= bench.calls.keys())
        assert len(set(seen)) == len(seen)
        assert all(bench.calls[identifier].findings for identifier in seen)
        assert bench.fleet.worker_deaths == 3
        await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)


async def test_RUN_04_silent_worker_is_killed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TICK_SECONDS", 0.5)
    monkeypatch.setattr(worker, "MAX_QUIET_TICKS", 6)
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        await bench.fleet.start_proxy("prx_a")
        os.kill(pid, signal.SIGSTOP)
        answer = await bench.ask("prx_a")  # Waits in the backlog until the next worker takes it.
        assert answer.status_code == 200
        assert not alive(pid)
        assert (await ready(bench)) != [pid]


async def test_RUN_04_worker_that_does_not_answer_is_replaced_and_gets_the_newest_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ANSWER_TIMEOUT_SECONDS", 0.5)
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        await bench.fleet.start_proxy("prx_a")
        os.kill(pid, signal.SIGSTOP)
        bench.configuration = configuration(bench.configuration.proxies, api_keys=(api_key("key_2", "ost_new"),))
        await bench.fleet.refresh()
        await bench.until(lambda: bench.fleet.worker_deaths == 1)
        assert (await bench.ask("prx_a")).status_code == 401
        assert (await bench.ask("prx_a", key="ost_new")).status_code == 200
        assert repr(bench.fleet).startswith("<Fleet v")
        assert bench.fleet.calls_dropped == 0


async def test_worker_log_reaches_ours_with_its_level_and_without_control_characters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    talkative = (
        "import sys; w = sys.stderr.write; w('WARNING here: odd \\x1b[31m\\n  continued\\n'); w('plain words\\n');"
        "w('x' * 100000 + '\\n'); w('ERROR there: bad\\n')"
    )
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        caplog.set_level("INFO", logger="ostiary.worker")
        bench.fleet._slots[0]._command = (sys.executable, "-c", talkative)
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: "there: bad" in caplog.text)
    said = [(record.levelname, record.getMessage().partition("] ")[2]) for record in caplog.records]
    assert ("WARNING", "here: odd \\x1b[31m") in said
    assert ("WARNING", "  continued") in said
    assert ("ERROR", "there: bad") in said
    assert any("left out" in message for _, message in said)


async def test_RUN_10_crash_loop_fails_the_proxies_with_a_reason_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RestartPolicy, "delay_seconds", lambda self, now: 0.5 if self.in_crash_loop(now) else 0.0)
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        real = bench.fleet._slots[0]._command
        [pid] = await ready(bench)
        await bench.fleet.start_proxy("prx_a")
        bench.fleet._slots[0]._command = (sys.executable, "-c", "import sys; sys.exit(3)")
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: bench.state("prx_a") is ProxyState.FAILED)
        assert f"ended {slot.CRASH_LOOP_DEATHS} times" in bench.fleet.status("prx_a").reason
        bench.fleet._slots[0]._command = real
        await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
        assert (await bench.ask("prx_a")).status_code == 200


async def test_RUN_10_worker_that_cannot_be_started_leaves_the_console_up(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        await bench.fleet.start_proxy("prx_a")
        bench.fleet._slots[0]._command = (str(tmp_path / "no-such-program"),)
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: bench.state("prx_a") is ProxyState.FAILED)


async def test_RUN_04_worker_of_another_release_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        foreign = (
            "import sys; from proxies import contract, worker; contract.CONTRACT_VERSION = worker.CONTRACT_VERSION = 999\n"
            "from pathlib import Path; a = sys.argv; worker.run(int(a[2]), int(a[4]), Path(a[6]))"
        )
        bench.fleet._slots[0]._command = (sys.executable, "-c", foreign)
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: "version 999 of the contract" in caplog.text)
        await bench.until(lambda: not any(item.state == "running" for item in bench.fleet.workers()))


async def test_RUN_01_workers_ignore_signals_while_the_console_lives(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        [pid] = await ready(bench)
        await bench.fleet.start_proxy("prx_a")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert (await bench.ask("prx_a")).status_code == 200
        assert await ready(bench) == [pid]


CONSOLE = """
import asyncio, sys, json
from pathlib import Path
from tests.support.fleet import Bench, configuration, proxy
from app.settings import Settings

async def main():
    bench = Bench(Settings(data_dir=Path(sys.argv[1]), port=1), configuration([proxy("a", sys.argv[2])]))
    await bench.fleet.start()
    if sys.argv[3] == "stuck":
        bench.ingest_error = RuntimeError("the database is away")
    status = await bench.fleet.start_proxy("prx_a")
    print(json.dumps({"port": bench.config("prx_a").port, "worker": bench.fleet.workers()[0].pid}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await bench.fleet.stop()
    await bench.client.aclose()

asyncio.run(main())
"""


async def started_console(
    directory: Path, upstream_url: str, how: str
) -> tuple[asyncio.subprocess.Process, dict[str, int]]:
    """A console with one worker, and what it says: its port and the worker's process."""
    console = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CONSOLE, str(directory), upstream_url, how),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert console.stdout is not None
    return console, json.loads(await console.stdout.readline())


@pytest.mark.parametrize("ending", ["killed", "stopped"])
async def test_RUN_01_calls_that_a_dead_console_never_committed_are_spooled_and_ingested_at_the_next_start(
    tmp_path: Path, ending: str
) -> None:
    async with held_upstream() as upstream:
        console, told = await started_console(tmp_path, upstream.url, "stuck")
        assert console.stdin is not None
        url = f"http://127.0.0.1:{told['port']}/v1/chat/completions"
        headers = {"authorization": "Bearer ost_" + "k" * 43}
        seen = []
        async with httpx.AsyncClient(headers=headers, timeout=DEADLINE_SECONDS) as client:
            for text in ("hello", ATTACK, "hello again", ATTACK):
                body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
                answer = await client.post(url, json=body)
                seen.append((answer.headers["x-request-id"], answer.status_code))
        assert [status for _, status in seen] == [200, 403, 200, 403]
        if ending == "killed":
            console.kill()
        else:
            console.stdin.close()
        await console.wait()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while alive(told["worker"]):
                await asyncio.sleep(0.05)
        [spool] = (tmp_path / "spool").glob("*.spool")
        assert spool.stat().st_mode & 0o777 == 0o600
        assert spool.parent.stat().st_mode & 0o777 == 0o700

        async with running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
            assert bench.calls.keys() == {identifier for identifier, _ in seen}
            assert list((tmp_path / "spool").iterdir()) == []


async def test_RUN_01_dead_console_frees_the_ports_and_cuts_streams_visibly(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        console, told = await started_console(tmp_path, upstream.url, "fine")
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": "Bearer ost_" + "k" * 43}
        async with (
            httpx.AsyncClient(headers=headers, timeout=DEADLINE_SECONDS) as client,
            client.stream("POST", f"http://127.0.0.1:{told['port']}/v1/chat/completions", json=body) as answer,
        ):
            lines = answer.aiter_lines()
            assert "first" in await anext(lines)
            console.kill()
            await console.wait()
            with pytest.raises(httpx.HTTPError):
                [line async for line in lines]
        taken_over = proxy("a", upstream.url, port=told["port"])
        async with running_fleet(tmp_path, [taken_over], auto_start=frozenset({"prx_a"})) as bench:
            await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
            assert (await bench.ask("prx_a")).status_code == 200
            await bench.until(lambda: not alive(told["worker"]))
            await bench.fleet._intake.recover()
            assert any(call.streamed and call.truncated for call in bench.calls.values())
