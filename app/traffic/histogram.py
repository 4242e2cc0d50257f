"""Fixed-bucket histogram of the time that the gateway adds to a call, so that quantiles survive the roll-up.

Counts of equal buckets add up over minutes and proxies; a quantile is read by linear interpolation in its bucket, so
its error is at most the width of that bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS_MS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 50.0, 100.0, 500.0, 2000.0)
"""Upper bounds, inclusive; one more bucket holds everything above the last."""
BUCKETS = len(BOUNDS_MS) + 1


def bucket(value_ms: float) -> int:
    """Index of the bucket that counts this value."""
    return bisect_left(BOUNDS_MS, value_ms)


def quantile(counts: Sequence[int], fraction: float) -> float | None:
    """The value in milliseconds below which this fraction of the counted calls lies; None when nothing was counted."""
    total = sum(counts)
    if total == 0:
        return None
    rank = fraction * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            return _interpolate(index, (rank - below) / count)
        below += count
    return BOUNDS_MS[-1]


def _interpolate(index: int, share: float) -> float:
    if index == len(BOUNDS_MS):
        return BOUNDS_MS[-1]  # The open bucket has no width; its lower bound is the honest floor.
    lower = BOUNDS_MS[index - 1] if index else 0.0
    return lower + (BOUNDS_MS[index] - lower) * share
