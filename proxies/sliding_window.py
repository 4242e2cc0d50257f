"""At most so many calls within a window that slides, counted apart for each key.

Calls are counted in slices of a sixtieth of the window, and a slice leaves as a whole, a window after the last of its
calls. So there are never more calls than the limit in any window, none waits longer than the window, and the first calls of a
slice are forgotten up to one slice late. Refused calls do not count. Memory is bounded: the keys that were idle longest
are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

SLICES: Final = 60
MAX_KEYS: Final = 20_000


class _Slice:
    """The calls of one key in one slice."""

    __slots__ = ("calls", "latest", "number")

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.calls = 1
        self.latest = now


class SlidingWindow:
    """The calls of one limit, by key. Times are seconds of a clock that never goes back."""

    __slots__ = ("_keys", "_limit", "_max_keys", "_slice_seconds", "_window_seconds")

    def __init__(self, limit: int, window_seconds: float, *, max_keys: int = MAX_KEYS) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._slice_seconds = window_seconds / SLICES
        self._max_keys = max_keys
        self._keys: OrderedDict[str, deque[_Slice]] = OrderedDict()
        """By key the slices with calls, oldest first."""

    def __len__(self) -> int:
        return len(self._keys)

    def wait_seconds(self, key: str, now: float) -> float:
        """After how many seconds the next call is allowed; 0 for now."""
        slices = self._keys.get(key)
        if slices is None:
            return 0.0
        self._keys.move_to_end(key)  # Also for a call that is refused: who goes on calling must not be forgotten.
        while slices and slices[0].latest + self._window_seconds <= now:
            slices.popleft()
        if sum([part.calls for part in slices]) < self._limit:
            return 0.0
        return slices[0].latest + self._window_seconds - now

    def count(self, key: str, now: float) -> None:
        """Count a call that passes."""
        slices = self._keys.get(key)
        if slices is None:
            if len(self._keys) >= self._max_keys:
                self._keys.popitem(last=False)
            slices = self._keys[key] = deque()
        number = int(now / self._slice_seconds)
        if slices and slices[-1].number == number:
            slices[-1].calls += 1
            slices[-1].latest = now
        else:
            slices.append(_Slice(number, now))
