"""Jobs run, fail alone, end at their deadline, and a scheduler that stands still is noticed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.jobs import scheduler as module
from app.jobs.scheduler import Job, Scheduler


def job(name: str, run: module.Callable[[], module.Awaitable[None]], **changes: float) -> Job:
    return Job(name=name, run=run, **({"every_seconds": 3600.0, "deadline_seconds": 5.0} | changes))


async def test_a_job_runs_by_itself_again_and_again() -> None:
    runs = asyncio.Queue[int]()

    async def work() -> None:
        runs.put_nowait(1)

    scheduler = Scheduler([job("work", work, every_seconds=0.05, first_after_seconds=0.0)])
    await scheduler.start()
    async with asyncio.timeout(20):
        for _ in range(3):
            await runs.get()
    await scheduler.stop()
    report = scheduler.reports["work"]
    assert report.runs >= 3
    assert report.failures == 0
    assert report.last_succeeded_at is not None


async def test_a_failing_job_is_logged_and_counted_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("boom")

    scheduler = Scheduler([job("work", work)])
    await scheduler.run(scheduler.jobs[0])
    await scheduler.run(scheduler.jobs[0])
    report = scheduler.reports["work"]
    assert (report.runs, report.failures, report.last_error) == (2, 2, "ValueError")
    assert "The job work failed" in caplog.text


async def test_a_job_that_hangs_ends_at_its_deadline() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    scheduler = Scheduler([job("work", work, deadline_seconds=0.01)])
    await scheduler.run(scheduler.jobs[0])
    assert scheduler.reports["work"].last_error == "TimeoutError"


async def test_a_stop_in_the_middle_of_a_job_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            ended.set()

    scheduler = Scheduler([job("work", work, first_after_seconds=0.0)])
    await scheduler.start()
    async with asyncio.timeout(20):
        await begun.wait()
        await scheduler.stop()
    assert ended.is_set(), "what it uses must not be closed before it has ended"
    for _ in range(5):  # What APScheduler has to say about the end of its job it says in these turns of the loop.
        await asyncio.sleep(0)
    assert scheduler.reports["work"].failures == 0
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_a_scheduler_that_stands_still_is_late_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 3600.0)
    monkeypatch.setattr(module, "WATCH_EVERY_SECONDS", 0.01)
    noticed = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.CRITICAL:
                noticed.set()

    listener = Listener()
    module.logger.addHandler(listener)
    scheduler = Scheduler([], late_after_seconds=0.02)
    assert not scheduler.is_late  # Not started yet.
    await scheduler.start()
    async with asyncio.timeout(20):
        await noticed.wait()
    assert scheduler.is_late
    await scheduler.stop()
    module.logger.removeHandler(listener)
    assert not scheduler.is_late
    assert "has not run" in caplog.text


async def test_the_heartbeat_keeps_it_from_being_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    scheduler = Scheduler([])
    await scheduler.start()
    first = scheduler.beaten_at
    async with asyncio.timeout(20):
        while scheduler.beaten_at == first:
            await asyncio.sleep(0)
    assert not scheduler.is_late
    await scheduler.stop()
