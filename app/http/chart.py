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
    """Calls by kind in one step that begins at `at`."""

    at: datetime
    counts: Mapping[str, int]


def nice_ceiling(value: int) -> int:
    """The next of 4, 8, 20, 40, 80, 200 … so that a quarter of it is a whole number."""
    top = 4
    while top < value:
        top = top * 5 // 2 if str(top).startswith("8") else top * 2
    return top


def grouped(points: Sequence[Point], size: int) -> list[Point]:
    """Every `size` points as one."""
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        counts = {kind: sum(point.counts.get(kind, 0) for point in part) for kind, _ in STACK}
        found.append(Point(part[0].at, counts))
    return found


def stacked_bars(points: Sequence[Point], step: timedelta) -> Chart:
    """The chart of these points, which are `step` apart; about `BARS` bars."""
    size = max(1, round(len(points) / BARS))
    shown = grouped(points, size)
    top = nice_ceiling(max((sum(point.counts.values()) for point in shown), default=0))
    slot = WIDTH / max(len(shown), 1)
    bars = [_bar(index, point, slot, HEIGHT / top, step * size) for index, point in enumerate(shown)]
    lines = [round(HEIGHT * index / LINES + (0.5 if index < LINES else -0.5), 1) for index in range(LINES + 1)]
    scale = [f"{top * (LINES - index) // LINES:,}" for index in range(LINES + 1)]
    labels = [*[f"{shown[index].at:%H:%M}" for index in range(0, len(shown), max(1, len(shown) // 4))][:4], "now"]
    total = sum(sum(point.counts.values()) for point in points)
    return Chart(bars=bars, lines=lines, labels=labels, scale=scale, total=total, series=_series(points))


def _bar(index: int, point: Point, slot: float, unit: float, span: timedelta) -> Bar:
    parts = []
    y = float(HEIGHT)
    for kind, _ in STACK:
        if count := point.counts.get(kind, 0):
            height = max(round(count * unit, 1), 1.5)
            y = max(round(y - height, 1), 0.0)
            parts.append((kind, y, height))
    words = ", ".join(f"{point.counts[kind]:,} {name}" for kind, name in STACK if point.counts.get(kind))
    title = f"{point.at:%H:%M}–{point.at + span:%H:%M} UTC: {words or 'no calls'}"
    return Bar(x=round(index * slot + slot * 0.1, 2), width=round(slot * 0.8, 2), parts=parts, title=title)


def _series(points: Sequence[Point]) -> str:
    return json.dumps(
        {
            "at": [int(point.at.timestamp()) for point in points],
            "series": [
                {"name": name, "ink": kind, "values": [point.counts.get(kind, 0) for point in points]}
                for kind, name in STACK
            ],
        },
        separators=(",", ":"),
    )
