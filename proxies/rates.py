"""The counters of rate limits in this worker."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxies.sliding_window import SlidingWindow
from rules.policy import RateLimit

MAX_LIMITS: Final = 500


class RateWindows:
    """The counters of this worker, by policy and limit; they outlive snapshots that leave a limit as it is."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, RateLimit], SlidingWindow] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RateWindows {len(self._windows)}>"

    def of(self, policy_name: str, limit: RateLimit) -> SlidingWindow:
        """The counter of a limit. Beyond `MAX_LIMITS` the one that was idle longest is forgotten."""
        key = (policy_name, limit)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= MAX_LIMITS:
                self._windows.popitem(last=False)
            window = self._windows[key] = SlidingWindow(limit.limit, limit.window_seconds)
        self._windows.move_to_end(key)
        return window
