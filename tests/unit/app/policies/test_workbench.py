"""Work away from the loop: results, errors, deadlines, and no more at once than there are places."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.policies.errors import PolicyTooSlow
from app.policies.workbench import Workbench


async def test_results_and_errors_come_back_from_another_thread() -> None:
    bench = Workbench()
    assert await bench.run(lambda: threading.current_thread().name) == "policy-work"

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await bench.run(fail)


async def test_whoever_waits_too_long_is_told_and_the_place_stays_taken_until_the_work_ends() -> None:
    bench, release = Workbench(places=1), threading.Event()
    with pytest.raises(PolicyTooSlow):
        await bench.run(release.wait, deadline_seconds=0.01)
    with pytest.raises(PolicyTooSlow):
        await bench.run(lambda: True, deadline_seconds=0.01)
    release.set()
    assert await bench.run(lambda: True, deadline_seconds=None)


async def test_no_more_runs_at_once_than_there_are_places() -> None:
    bench, running, most = Workbench(places=2), 0, 0
    lock, release = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait()
        with lock:
            running -= 1

    tasks = [asyncio.create_task(bench.run(work, deadline_seconds=None)) for _ in range(5)]
    while running < 2:
        await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*tasks)
    assert most == 2
