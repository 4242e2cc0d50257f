"""How long the event loop kept ready work waiting (LIM-15): the first thing to look at when a worker is slow."""

from __future__ import annotations

import asyncio
import time
from typing import Final

TICK_SECONDS: Final = 0.05
"""A stall shorter than this may go unseen; the cost is twenty wake-ups a second."""


class LoopLag:
    """Watches one running loop; `take_ms` gives the worst delay since it was last asked, `busiest_ms` the longest stretch
    in which the loop's own thread computed while other work was due: what a busy machine adds is not in it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worst_seconds = 0.0
        self._busiest_seconds = 0.0
        self._arm()

    def __repr__(self) -> str:
        return f"<LoopLag {self._worst_seconds * 1000:.1f} ms>"

    def take_ms(self) -> float:
        """The worst delay in milliseconds since the last call, and start anew."""
        worst_seconds, self._worst_seconds = self._worst_seconds, 0.0
        return worst_seconds * 1000

    @property
    def busiest_ms(self) -> float:
        """Processor time of the longest stall since the start, in milliseconds."""
        return self._busiest_seconds * 1000

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _arm(self) -> None:
        # The loop's own clock stands still during an iteration; the system's does not.
        self._due_at = time.monotonic() + TICK_SECONDS
        self._computed_at = time.thread_time()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        late_seconds = time.monotonic() - self._due_at
        self._worst_seconds = max(self._worst_seconds, late_seconds)
        self._busiest_seconds = max(self._busiest_seconds, min(late_seconds, time.thread_time() - self._computed_at))
        self._arm()
