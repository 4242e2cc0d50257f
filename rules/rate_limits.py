"""At most so many calls within a window that slides, counted apart for each key.

A window is counted in slices. A call is refused when the calls of all slices that touch the window reach the limit, so
there are never more than the limit in any window; a slice that has only begun to leave still counts, so a refusal may
come up to one slice (a sixtieth of the window) late to be lifted. Refused calls do not count. Memory is bounded: the keys that
were idle longest are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque

SLICES = 60
MAX_KEYS = 20_000


class SlidingWindow:
    """The calls of one limit, by key. Times are seconds of a clock that never goes back."""

    __slots__ = ("_keys", "_limit", "_max_keys", "_slice_seconds")

    def __init__(self, limit: int, window_seconds: float, *, max_keys: int = MAX_KEYS) -> None:
        self._limit = limit
        self._slice_seconds = window_seconds / SLICES
        self._max_keys = max_keys
        self._keys: OrderedDict[str, deque[list[int]]] = OrderedDict()
        """By key the slices with calls, oldest first: [number of the slice, calls]."""

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, key: str, now: float) -> float:
        """Count a call and return 0, or return after how many seconds the next one is allowed."""
        slices = self._keys.get(key)
        if slices is None:
            if len(self._keys) >= self._max_keys:
                self._keys.popitem(last=False)
            slices = self._keys[key] = deque()
        self._keys.move_to_end(key)
        current = int(now / self._slice_seconds)
        while slices and slices[0][0] < current - SLICES:
            slices.popleft()
        if sum(calls for _, calls in slices) >= self._limit:
            return (slices[0][0] + SLICES + 1) * self._slice_seconds - now
        if slices and slices[-1][0] == current:
            slices[-1][1] += 1
        else:
            slices.append([current, 1])
        return 0.0
