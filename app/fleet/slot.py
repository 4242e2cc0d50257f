"""A place for one worker: whoever dies in it is replaced."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.fleet.orphans import end_orphans
from app.fleet.restart import CRASH_LOOP_DEATHS, CRASH_LOOP_DELAY_SECONDS, WINDOW_SECONDS, RestartPolicy
from app.fleet.state import WorkerReport
from app.fleet.worker import ScanReport, ToolReport, Worker
from proxies.contract import Events

logger = logging.getLogger(__name__)


class Slot:
    """Keeps one worker alive.

    `on_change` is called when the worker or its listeners change, `on_events` for every batch, `on_scan` and
    `on_tools` for what is said about scans and about the tools of MCP servers, and `on_buried` after a worker's end, when
    all that it had said is read.
    """

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        spool_dir: Path,
        *,
        on_change: Callable[[], None],
        on_events: Callable[[Worker, Events], None],
        on_scan: Callable[[ScanReport], None],
        on_tools: Callable[[ToolReport], None],
        on_buried: Callable[[], None],
    ) -> None:
        self.number = number
        self.worker: Worker | None = None
        self.deaths = 0
        """Workers lost since the start."""
        self._command = command
        self._spool_dir = spool_dir
        self._on_change = on_change
        self._on_events = on_events
        self._on_scan = on_scan
        self._on_tools = on_tools
        self._on_buried = on_buried
        self._restarts = RestartPolicy()
        self._crash_loop = ""

    def __repr__(self) -> str:
        return f"<Slot {self.number} {self.worker!r} deaths={self.deaths}>"

    @property
    def ready(self) -> Worker | None:
        """The worker, when it can be told what to serve."""
        return self.worker if self.worker is not None and self.worker.ready else None

    def report(self) -> WorkerReport:
        """What judging the proxies needs to know."""
        report = self.worker.report() if self.worker is not None else None
        if report is not None and report.live:
            return report
        return WorkerReport(live=False, listeners={}, version=0, crash_loop=self._crash_loop)

    async def keep(self, stopping: asyncio.Event) -> None:
        """Start a worker, follow it to its end, start the next, until `stopping` is set."""
        while not stopping.is_set():
            now = time.monotonic()
            delay_seconds = self._restarts.delay_seconds(now)
            self._crash_loop = ""
            if self._restarts.in_crash_loop(now):
                self._crash_loop = (
                    f"The worker ended {CRASH_LOOP_DEATHS} times within {WINDOW_SECONDS:.0f} s. "
                    f"It is tried again every {CRASH_LOOP_DELAY_SECONDS:.0f} s; the log says why it ends."
                )
                logger.error("slot %d: %s", self.number, self._crash_loop)
                self._on_change()
            if await _set_within(stopping, delay_seconds):
                return
            await self._live(stopping)

    async def _live(self, stopping: asyncio.Event) -> None:
        """One worker from its start to its end."""
        try:
            self.worker = await Worker.spawn(
                self.number,
                self._command,
                self._spool_dir,
                on_change=self._on_change,
                on_events=self._on_events,
                on_scan=self._on_scan,
                on_tools=self._on_tools,
            )
        except OSError as error:
            logger.error("a worker cannot be started: %s", error)
            self._restarts.note_death(time.monotonic())
            return
        worker = self.worker
        logger.info("worker %d started in slot %d", worker.pid, self.number)
        status: int | None = None
        try:
            status = await worker.run()
        except Exception:
            # Broad: whatever failed while it was followed, its proxies need a worker again.
            logger.exception("worker %d cannot be followed any more", worker.pid)
        finally:
            self.worker = None
            await asyncio.shield(asyncio.to_thread(end_orphans, worker.pid))
        if stopping.is_set():
            logger.info("worker %d ended (%s)", worker.pid, _ending(status))
        else:
            logger.error("worker %d ended unexpectedly (%s) and is replaced", worker.pid, _ending(status))
            self.deaths += 1
            self._restarts.note_death(time.monotonic())
        self._on_buried()
        self._on_change()


def _ending(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "killed"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
