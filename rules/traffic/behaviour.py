"""Pace, shares and sizes of one source's calls."""

from __future__ import annotations

import math
from collections import Counter, deque

from rules.traffic.observation import Observation, Suspicion

RAPID_CALLS = 30
"""So many intervals are judged together: an agent that sends a handful of calls at once is not rapid fire."""
RAPID_INTERVAL_SECONDS = 0.1
SHARE_CALLS = 40
SHARE_WINDOW_SECONDS = 600.0
MAX_SHARE = 0.8
ORDINARY_METHODS = frozenset({"tools/call", "ping", "initialize", "logging/setLevel", ""})
"""Methods that lead in ordinary traffic; the share is that of the others. Notifications do not count either."""
SIZE_CALLS = 100
SIZE_DEVIATIONS = 2.5
SIZE_FACTOR = 8
SIZE_FLOOR_BYTES = 64 * 1024


class BehaviourState:
    """What one source usually does."""

    __slots__ = ("_intervals", "_last_at", "_log_mean", "_log_squares", "_methods", "_sizes")

    def __init__(self) -> None:
        self._last_at = -math.inf
        self._intervals: deque[float] = deque(maxlen=RAPID_CALLS)
        self._methods: deque[tuple[float, str]] = deque(maxlen=SHARE_CALLS)
        self._sizes = 0
        self._log_mean = 0.0
        self._log_squares = 0.0

    def advance(self, call: Observation) -> list[Suspicion]:
        """Judge one call against those before it, then remember it."""
        suspicions = (self._pace(call), self._share(call), self._size(call))
        return [suspicion for suspicion in suspicions if suspicion]

    def _pace(self, call: Observation) -> Suspicion | None:
        """Agents only: behind a key of an LLM proxy stands an application, whose users are many."""
        if not call.is_mcp:
            return None
        interval = call.at - self._last_at
        self._last_at = max(self._last_at, call.at)
        if not 0 <= interval < math.inf:
            return None
        self._intervals.append(interval)
        if len(self._intervals) < RAPID_CALLS:
            return None
        mean = sum(self._intervals) / RAPID_CALLS
        if mean >= RAPID_INTERVAL_SECONDS:
            return None
        self._intervals.clear()
        return Suspicion("BEHAVIORAL_RAPIDFIRE", f"{RAPID_CALLS} calls, {mean * 1000:.0f} ms apart in the mean")

    def _share(self, call: Observation) -> Suspicion | None:
        if not call.is_mcp or call.method.startswith("notifications/"):
            return None
        self._methods.append((call.at, call.method))
        recent = [method for at, method in self._methods if call.at - at <= SHARE_WINDOW_SECONDS]
        if len(recent) < SHARE_CALLS:
            return None
        method, count = Counter(recent).most_common(1)[0]
        if method in ORDINARY_METHODS or count <= MAX_SHARE * len(recent):
            return None
        self._methods.clear()
        minutes = SHARE_WINDOW_SECONDS / 60
        return Suspicion(
            "BEHAVIORAL_METHODDOMINATION",
            f"{method} made {count * 100 // len(recent)} % of {len(recent)} calls within {minutes:.0f} min",
        )

    def _size(self, call: Observation) -> Suspicion | None:
        """Sizes spread over orders of magnitude, so their logarithms are compared (Welford's running variance)."""
        value = math.log(max(call.request_bytes, 1))
        suspicion = None
        if self._sizes >= SIZE_CALLS and call.request_bytes >= SIZE_FLOOR_BYTES:
            deviation = math.sqrt(self._log_squares / self._sizes)
            typical = math.exp(self._log_mean)
            limit = max(self._log_mean + SIZE_DEVIATIONS * deviation, math.log(typical * SIZE_FACTOR))
            if value > limit:
                suspicion = Suspicion(
                    "BEHAVIORAL_PAYLOADSIZE", f"{call.request_bytes} bytes where {typical:.0f} are typical"
                )
        self._sizes += 1
        before = value - self._log_mean
        self._log_mean += before / self._sizes
        self._log_squares += before * (value - self._log_mean)
        return suspicion
