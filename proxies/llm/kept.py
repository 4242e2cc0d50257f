"""What the calls of a conversation leave for those that continue it, in the memory of this worker and for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

MAX_KEPT: Final = 10_000
Key = tuple[str, str, str]
"""Proxy, principal, id of a response or conversation: a lookup needs the caller that it belongs to."""


class Kept(Generic[Value]):
    """Values by the response or conversation that a call may continue; the oldest go first.

    Safe to share between threads: large answers are finished in one.
    """

    def __init__(self, *, seconds: float, max_weight: int) -> None:
        """`max_weight` bounds the sum of what `keep` is told."""
        self._seconds = seconds
        self._max_weight = max_weight
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[float, int, Value]] = OrderedDict()
        """Until when, its weight, the value."""
        self._weight = 0

    def __repr__(self) -> str:
        return f"<Kept {len(self._kept)}>"

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, value: Value, weight: int) -> None:
        """Keep a value for the next call."""
        with self._lock:
            self._forget(key)
            self._kept[key] = (time.monotonic() + self._seconds, weight, value)
            self._weight += weight
            while self._kept and (len(self._kept) > MAX_KEPT or self._weight > self._max_weight):
                self._forget(next(iter(self._kept)))

    def find(self, key: Key) -> Value | None:
        """The value to go on with, if there is one and it is not too old."""
        now = time.monotonic()
        with self._lock:
            while self._kept and (oldest := next(iter(self._kept))) and self._kept[oldest][0] <= now:
                self._forget(oldest)
            kept = self._kept.get(key)
            return kept[2] if kept else None

    def _forget(self, key: Key) -> None:
        if gone := self._kept.pop(key, None):
            self._weight -= gone[1]
