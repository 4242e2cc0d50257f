"""Spans of a text in which something is looked for; those of one sequence are in order and apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from rules.patterns import key_of, regexp
from rules.prefilter import SEPARATOR_CLASS, SEPARATOR_RUN_BYTES, TOKEN_CLASS, TOKEN_RUN_BYTES

Windows = Sequence[tuple[int, int]]

MAX_RUNS = 200
"""Long runs of one text, each of which widens the windows that touch it."""
_RUNS = (
    regexp(key_of(f"{TOKEN_CLASS}{{{TOKEN_RUN_BYTES},}}", "")),
    regexp(key_of(f"{SEPARATOR_CLASS}{{{SEPARATOR_RUN_BYTES},}}", "")),
)


def long_runs(data: bytes) -> Windows | None:
    """The runs of a text over which an unbounded repetition may stretch, of both kinds; None when there are too many."""
    runs = [match.span() for pattern in _RUNS for match in islice(pattern.finditer(data), MAX_RUNS)]
    return runs if len(runs) < MAX_RUNS else None


def stretched(low: int, high: int, size: int, runs: Windows) -> tuple[int, int]:
    """The span, and `size` bytes more beyond every long run that it touches."""
    touched = True
    while touched:
        touched = False
        for start, stop in runs:
            if start < high and stop > low and (start - size < low or stop + size > high):
                low, high = min(low, start - size), max(high, stop + size)
                touched = True
    return low, high


def close(windows: Windows, places: Windows, distance: int) -> Windows:
    """The windows with one of the places at most so far away."""
    kept: list[tuple[int, int]] = []
    at = 0
    for low, high in windows:
        while at < len(places) and places[at][1] + distance < low:
            at += 1
        if at == len(places):
            break
        if places[at][0] - distance <= high:
            kept.append((low, high))
    return kept


def joined(spans: Iterable[tuple[int, int]], size: int, *, apart: int = 0) -> Windows:
    """Spans in order, within a text of this size, with those made one that touch or have at most `apart` between them."""
    found: list[tuple[int, int]] = []
    for low, high in spans:
        if found and low <= found[-1][1] + apart:
            low, high = min(low, found[-1][0]), max(high, found.pop()[1])
        found.append((max(0, low), min(size, high)))
    return found
