"""Leaves an upstream alone that fails again and again (LIM-13): its callers learn at once what they would learn late.

After `FAILURES_TO_OPEN` failures in a row nothing is sent for a pause, then one request tries; each pause is twice as long
as the one before. An answer of any status ends all that: what counts is whether there is one. Pure; the time is the caller's.
"""

from __future__ import annotations

from typing import Final

FAILURES_TO_OPEN: Final = 10
"""More than an upstream that restarts costs its callers, who come a few at a time."""
FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 30.0


class Breaker:
    """The judgement about one upstream."""

    __slots__ = ("_failures", "_next_try_at", "_pause_seconds", "last_failure")

    def __init__(self) -> None:
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next_try_at = 0.0
        self.last_failure = ""

    def __repr__(self) -> str:
        return f"<Breaker {self._failures} failures in a row>"

    @property
    def is_open(self) -> bool:
        """Whether requests are held back, save for the one that tries."""
        return self._failures >= FAILURES_TO_OPEN

    def wait_seconds(self, now: float) -> float:
        """0 when a request may be sent now; otherwise after how many seconds one may try. Who gets the 0 of an open
        breaker is that one: for all others the next, longer pause begins, also if it never comes back."""
        if self._failures < FAILURES_TO_OPEN:
            return 0.0
        if now < self._next_try_at:
            return self._next_try_at - now
        self._pause_seconds = min(self._pause_seconds * 2, MAX_PAUSE_SECONDS)
        self._next_try_at = now + self._pause_seconds
        return 0.0

    def answered(self) -> None:
        """The head of an answer arrived."""
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def failed(self, now: float, reason: str) -> None:
        """There was no connection, or no answer on it."""
        self.last_failure = reason
        self._failures += 1
        if self._failures == FAILURES_TO_OPEN:
            self._next_try_at = now + self._pause_seconds
