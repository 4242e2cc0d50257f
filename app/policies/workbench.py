"""Work that takes processor time, away from the event loop: compiling, linting, evaluating, replaying.

A few threads at a time, of low priority, each with a deadline for whoever waits. The threads are daemons: the end of
the program does not wait for them. Work that outlives its deadline keeps its place until it ends, so that impatient
callers cannot pile it up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from app.policies.errors import PolicyTooSlow

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLACES = 2
NICENESS = 10
DEADLINE_SECONDS = 30.0


class Workbench:
    """Runs functions in threads, at most `places` at once."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = asyncio.Semaphore(places)

    def __repr__(self) -> str:
        return "<Workbench>"

    async def run(self, work: Callable[[], T], *, deadline_seconds: float | None = DEADLINE_SECONDS) -> T:
        """What `work` returns or raises; raises PolicyTooSlow when it does not finish in time (None: no deadline)."""
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._places.acquire()
                # Shielded: the thread cannot be stopped, and its place is free only when it ends.
                return await asyncio.shield(self._start(work))
        except TimeoutError as error:
            raise PolicyTooSlow from error

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # Somebody who gave up asks for no result; an exception that nobody fetches would be reported as a mistake.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

        def settle(result: T | None, error: BaseException | None) -> None:
            self._places.release()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only where the work returns it.

        def run() -> None:
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
            result, failure = None, None
            try:
                result = work()
            except Exception as error:  # Whatever it is belongs to the one who waits for the future.
                failure = error
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:
                logger.info("The console ended while a policy was being worked on")

        threading.Thread(target=run, name="policy-work", daemon=True).start()
        return future
