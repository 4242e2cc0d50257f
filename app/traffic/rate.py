"""Calls per second right now: a ring of the last minute in memory, fed after each committed batch."""

from __future__ import annotations

from collections.abc import Callable

WINDOW_SECONDS = 60


class RateMeter:
    """Counts of the last 60 whole seconds; older ones are forgotten."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._counts = [0] * WINDOW_SECONDS
        self._seconds = [-1] * WINDOW_SECONDS

    def __repr__(self) -> str:
        return f"<RateMeter {self.per_second():.1f}/s>"

    def add(self, count: int) -> None:
        """Count calls that ended now."""
        second = int(self._now())
        slot = second % WINDOW_SECONDS
        if self._seconds[slot] != second:
            self._seconds[slot], self._counts[slot] = second, 0
        self._counts[slot] += count

    def per_second(self, over_seconds: int = 10) -> float:
        """Mean over the last whole seconds; the running second is left out, it is not complete yet."""
        second = int(self._now())
        wanted = range(second - over_seconds, second)
        total = sum(
            self._counts[when % WINDOW_SECONDS] for when in wanted if self._seconds[when % WINDOW_SECONDS] == when
        )
        return total / over_seconds
