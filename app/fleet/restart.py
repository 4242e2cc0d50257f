"""When a worker that died is started again. Pure: times come in, delays go out."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0
CRASH_LOOP_DEATHS = 5
"""This many deaths within the window are a crash loop."""
CRASH_LOOP_DELAY_SECONDS = 30.0
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 10.0


class RestartPolicy:
    """0 s, 0.2 s, 0.4 s, 0.8 s, ... and 30 s in a crash loop. Deaths older than the window are forgotten."""

    def __init__(self) -> None:
        self._died_at: deque[float] = deque(maxlen=CRASH_LOOP_DEATHS)

    def __repr__(self) -> str:
        return f"<RestartPolicy {len(self._died_at)} deaths>"

    def note_death(self, now: float) -> None:
        """A worker died at `now` (monotonic seconds)."""
        self._died_at.append(now)

    def deaths(self, now: float) -> int:
        """Deaths within the window, counted up to the crash loop."""
        while self._died_at and now - self._died_at[0] > WINDOW_SECONDS:
            self._died_at.popleft()
        return len(self._died_at)

    def in_crash_loop(self, now: float) -> bool:
        """Whether starting again at once has proved useless."""
        return self.deaths(now) >= CRASH_LOOP_DEATHS

    def delay_seconds(self, now: float) -> float:
        """How long to wait before the next start."""
        deaths = self.deaths(now)
        if deaths <= 1:
            return 0.0
        if deaths >= CRASH_LOOP_DEATHS:
            return CRASH_LOOP_DELAY_SECONDS
        return min(FIRST_BACKOFF_SECONDS * 2.0 ** (deaths - 2), MAX_BACKOFF_SECONDS)
