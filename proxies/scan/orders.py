"""The scans that the console has ordered from this worker: a few at a time, each a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxies.contract import MAX_SCANS, CancelScan, ScanFinished, ScanProgress, StartScan
from proxies.scan.run import ScanFailed, gather

logger = logging.getLogger(__name__)


class Scans:
    """Starts and cancels scans, and sends what becomes of them."""

    def __init__(self, send: Callable[[ScanProgress | ScanFinished], object]) -> None:
        self._send = send
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Scans {len(self._tasks)}>"

    def obey(self, order: StartScan | CancelScan) -> None:
        """Begin a scan, or end one."""
        if isinstance(order, CancelScan):
            if task := self._tasks.get(order.id):
                task.cancel()
            return
        if len(self._tasks) >= MAX_SCANS or order.id in self._tasks:
            self._send(ScanFinished(order.id, failure=f"{MAX_SCANS} scans are running already. Try again later."))
            return
        task = asyncio.get_running_loop().create_task(self._run(order))
        self._tasks[order.id] = task
        task.add_done_callback(lambda _done: self._tasks.pop(order.id, None))

    async def stop(self) -> None:
        """End all of them."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, order: StartScan) -> None:
        def progress(percent: int, stage: str) -> None:
            self._send(ScanProgress(order.id, percent, stage))

        try:
            facts = await gather(order.target, active=order.active, progress=progress)
        except ScanFailed as error:
            self._send(ScanFinished(order.id, failure=str(error)))
        except Exception:
            # Whatever a hostile server brings about must stay with its scan.
            logger.exception("the scan %s failed", order.id)
            self._send(ScanFinished(order.id, failure="The scan failed in the worker; its log has the reason."))
        else:
            self._send(ScanFinished(order.id, facts))
