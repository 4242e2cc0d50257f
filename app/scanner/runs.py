"""Scans that are under way: how far each is, and its end when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from app.scanner.errors import TooManyScans
from proxies.contract import MAX_SCANS, SCAN_DEADLINE_SECONDS

PATIENCE_SECONDS = SCAN_DEADLINE_SECONDS + 60.0
"""A worker that has not answered by then has died with the scan."""


class Run(msgspec.Struct):
    """One scan that has begun."""

    tenant_id: str
    percent: int = 0
    stage: str = "waiting for a worker"
    timer: asyncio.TimerHandle | None = None
    ended: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class Runs:
    """The scans of this console that have not ended."""

    def __init__(self, on_late: Callable[[str], None]) -> None:
        self._on_late = on_late
        self._runs: dict[str, Run] = {}

    def __repr__(self) -> str:
        return f"<Runs {len(self._runs)}>"

    def begin(self, scan_id: str, tenant_id: str) -> None:
        """Take a place; raises TooManyScans."""
        if len(self._runs) >= MAX_SCANS:
            raise TooManyScans(f"{MAX_SCANS} scans are running.")
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._on_late, scan_id)
        self._runs[scan_id] = Run(tenant_id, timer=timer)

    def note(self, scan_id: str, percent: int, stage: str) -> None:
        """It is this far."""
        if run := self._runs.get(scan_id):
            run.percent, run.stage = min(max(percent, run.percent), 99), stage[:100]

    def get(self, scan_id: str) -> Run | None:
        """How far it is, if it runs."""
        return self._runs.get(scan_id)

    def end(self, scan_id: str) -> Run | None:
        """It has ended; None where it had already."""
        run = self._runs.pop(scan_id, None)
        if run is not None:
            run.ended.set()
            if run.timer is not None:
                run.timer.cancel()
        return run

    def end_all(self) -> None:
        """The console stops."""
        for scan_id in list(self._runs):
            self.end(scan_id)
