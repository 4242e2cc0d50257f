"""Shapes of the charts, computed here so that the templates only draw them. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

WIDTH, HEIGHT = 1000, 200
BARS = 48
LINES = 4
STACK = (("allowed", "allowed"), ("alerted", "alerted"), ("blocked", "blocked"), ("error", "refused or failed"))
"""Kind (which names the colour) and words, from the bottom up."""
LONG_SPAN = timedelta(days=3)
"""Charts that cover more are labelled by day."""

Stack = Sequence[tuple[str, str]]


class Bar(msgspec.Struct, frozen=True):
    """One bar: its parts are (kind, y, height)."""

    x: float
    width: float
    parts: list[tuple[str, float, float]]
    title: str


class Chart(msgspec.Struct, frozen=True):
    """A stacked bar chart in a box of 1000 by 200, and the same figures for the zoom."""

    bars: list[Bar]
    lines: list[float]
    labels: list[str]
    scale: list[str]
    """Words of the y axis, from the top down."""
    total: int
    series: str
    """JSON for charts.js: `{"at": [unix seconds], "series": [{"name", "ink", "values"}]}`."""


class Point(msgspec.Struct, frozen=True):
    """What is counted, by kind, in one step that begins at `at`."""

    at: datetime
    counts: Mapping[str, int]


def nice_ceiling(value: int) -> int:
    """The next of 4, 8, 20, 40, 80, 200 … so that a quarter of it is a whole number."""
    top = 4
    while top < value:
        top = top * 5 // 2 if str(top).startswith("8") else top * 2
    return top


def grouped(points: Sequence[Point], size: int, stack: Stack = STACK) -> list[Point]:
    """Every `size` points as one."""
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        counts = {kind: sum(point.counts.get(kind, 0) for point in part) for kind, _ in stack}
        found.append(Point(part[0].at, counts))
    return found


def stacked_bars(
    points: Sequence[Point], step: timedelta, *, stack: Stack = STACK, none: str = "no calls", end: str = "now"
) -> Chart:
    """The chart of these points, which are `step` apart; about `BARS` bars. `end` names the end of the axis."""
    size = max(1, round(len(points) / BARS))
    shown = grouped(points, size, stack)
    top = nice_ceiling(max((sum(point.counts.values()) for point in shown), default=0))
    slot = WIDTH / max(len(shown), 1)
    is_long = step * len(points) > LONG_SPAN
    bars = [
        Bar(
            x=round(index * slot + slot * 0.1, 2),
            width=round(slot * 0.8, 2),
            parts=_parts(point, HEIGHT / top, stack),
            title=f"{_span(point.at, step * size, is_long)} UTC: {_words(point, stack) or none}",
        )
        for index, point in enumerate(shown)
    ]
    lines = [round(HEIGHT * index / LINES + (0.5 if index < LINES else -0.5), 1) for index in range(LINES + 1)]
    scale = [f"{top * (LINES - index) // LINES:,}" for index in range(LINES + 1)]
    starts = [shown[index].at for index in range(0, len(shown), max(1, len(shown) // 4))][:4]
    labels = [*[f"{at.day} {at:%b}" if is_long else f"{at:%H:%M}" for at in starts], end]
    total = sum(sum(point.counts.values()) for point in points)
    return Chart(bars=bars, lines=lines, labels=labels, scale=scale, total=total, series=_series(points, stack))


def _parts(point: Point, unit: float, stack: Stack) -> list[tuple[str, float, float]]:
    parts = []
    y = float(HEIGHT)
    for kind, _ in stack:
        if count := point.counts.get(kind, 0):
            height = max(round(count * unit, 1), 1.5)
            y = max(round(y - height, 1), 0.0)
            parts.append((kind, y, height))
    return parts


def _words(point: Point, stack: Stack) -> str:
    return ", ".join(f"{point.counts[kind]:,} {name}" for kind, name in stack if point.counts.get(kind))


def _span(at: datetime, length: timedelta, is_long: bool) -> str:
    if not is_long:
        return f"{at:%H:%M}–{at + length:%H:%M}"
    last = at + length - timedelta(seconds=1)
    first_day, last_day = f"{at.day} {at:%b}", f"{last.day} {last:%b}"
    return first_day if first_day == last_day else f"{first_day}–{last_day}"


def _series(points: Sequence[Point], stack: Stack) -> str:
    return json.dumps(
        {
            "at": [int(point.at.timestamp()) for point in points],
            "series": [
                {"name": name, "ink": kind, "values": [point.counts.get(kind, 0) for point in points]}
                for kind, name in stack
            ],
        },
        separators=(",", ":"),
    )
