"""Runs jobs at intervals, and notices when it no longer does.

APScheduler keeps its jobs in memory and can stop silently; therefore one job does nothing but leave a heartbeat, and a
watchdog task outside the scheduler looks at it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app import clock

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
LATE_AFTER_SECONDS = 60.0
WATCH_EVERY_SECONDS = 15.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do again and again. The first run comes `first_after_seconds` after the start."""

    name: str
    run: Callable[[], Awaitable[None]]
    every_seconds: float
    deadline_seconds: float
    first_after_seconds: float | None = None


class JobReport(msgspec.Struct, kw_only=True):
    """How a job did so far."""

    name: str
    runs: int = 0
    failures: int = 0
    last_started_at: datetime | None = None
    last_succeeded_at: datetime | None = None
    last_duration_ms: float = 0.0
    last_error: str = ""
    """The class of the last error; the log has the rest."""


class Scheduler:
    """Starts and stops with the console."""

    def __init__(self, jobs: Sequence[Job], *, late_after_seconds: float = LATE_AFTER_SECONDS) -> None:
        self.jobs = tuple(jobs)
        self._late_after_seconds = late_after_seconds
        self._scheduler: AsyncIOScheduler | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any] | None] = set()
        self._stopping = False
        self.beaten_at = time.monotonic()
        self.reports = {job.name: JobReport(name=job.name) for job in self.jobs}

    def __repr__(self) -> str:
        return f"<Scheduler {len(self.jobs)} jobs{' late' if self.is_late else ''}>"

    @property
    def is_late(self) -> bool:
        """Whether a started scheduler has not run its heartbeat for too long."""
        return self._scheduler is not None and time.monotonic() - self.beaten_at > self._late_after_seconds

    async def start(self) -> None:
        """Schedule everything."""
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 60}
        )
        scheduler.add_job(self._beat, "interval", seconds=HEARTBEAT_SECONDS, id="heartbeat")
        for job in self.jobs:
            first = job.every_seconds if job.first_after_seconds is None else job.first_after_seconds
            scheduler.add_job(
                self.run,
                "interval",
                args=[job],
                seconds=job.every_seconds,
                id=job.name,
                next_run_time=datetime.fromtimestamp(time.time() + first, UTC),
            )
        self.beaten_at = time.monotonic()
        scheduler.start()
        self._scheduler = scheduler
        self._watchdog = asyncio.create_task(self._watch(), name="scheduler-watchdog")

    async def stop(self) -> None:
        """Schedule nothing more, cancel what runs, and wait until that has cleaned up: it may be using the database."""
        self._stopping = True
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
            self._watchdog = None
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
        if running := {task for task in self._running if task is not None}:
            await asyncio.wait(running)

    async def run(self, job: Job) -> None:
        """Run one job now, with its deadline; an error is logged and counted and ends nothing else."""
        task = asyncio.current_task()
        self._running.add(task)
        report = self.reports[job.name]
        report.runs += 1
        report.last_started_at = clock.utcnow()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(job.deadline_seconds):
                await job.run()
        except asyncio.CancelledError:
            # APScheduler would log the cancelled job as one that failed; at a stop it is what was asked for.
            if not self._stopping:
                raise
        except Exception as error:
            report.failures += 1
            report.last_error = type(error).__name__
            logger.exception("The job %s failed", job.name)
        else:
            report.last_succeeded_at = clock.utcnow()
        finally:
            self._running.discard(task)
            report.last_duration_ms = round((time.perf_counter() - started) * 1000, 3)

    async def _beat(self) -> None:
        self.beaten_at = time.monotonic()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_SECONDS)
            if self.is_late:
                logger.critical("The scheduler has not run for %d seconds", time.monotonic() - self.beaten_at)
