"""The shapes of charts, and the way from a form to a struct."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from app.errors import ValidationFailed
from app.http.chart import HEIGHT, WIDTH, Point, grouped, nice_ceiling, stacked_bars
from app.http.forms import convert, lines

START = datetime(2026, 11, 20, 0, 0, tzinfo=UTC)
STEP = timedelta(minutes=10)


def points(count: int, **counts: int) -> list[Point]:
    return [Point(START + STEP * index, counts) for index in range(count)]


@pytest.mark.parametrize(("value", "top"), [(0, 4), (4, 4), (5, 8), (9, 20), (21, 40), (150, 200), (801, 2000)])
def test_the_top_of_the_scale_is_round(value: int, top: int) -> None:
    assert nice_ceiling(value) == top
    assert top % 4 == 0


def test_a_day_becomes_about_fifty_bars_and_loses_no_call() -> None:
    chart = stacked_bars(points(144, allowed=3, blocked=1), STEP)
    assert len(chart.bars) == 48
    assert chart.total == 144 * 4
    assert chart.bars[0].title == "00:00–00:30 UTC: 9 allowed, 3 blocked"
    assert chart.scale[0] == "20"
    assert chart.labels[0] == "00:00"
    assert chart.labels[-1] == "now"


def test_parts_stack_without_gaps_inside_the_box() -> None:
    chart = stacked_bars(points(48, allowed=10, alerted=2, blocked=5, error=1), STEP)
    for bar in chart.bars:
        assert 0 <= bar.x <= WIDTH - bar.width
        bottom = float(HEIGHT)
        for _, y, height in bar.parts:
            assert y + height == pytest.approx(bottom, abs=0.2)
            bottom = y
        assert bottom >= 0


def test_a_single_blocked_call_among_thousands_is_seen() -> None:
    (bar,) = stacked_bars(points(1, allowed=10_000, blocked=1), STEP).bars
    assert {kind: height for kind, _, height in bar.parts}["blocked"] >= 1.5


def test_nothing_happened() -> None:
    chart = stacked_bars(points(144), STEP)
    assert chart.total == 0
    assert all(bar.parts == [] for bar in chart.bars)
    assert chart.bars[0].title.endswith("no calls")
    assert grouped([], 3) == []


def test_the_zoom_gets_every_point() -> None:
    series = json.loads(stacked_bars(points(144, allowed=3), STEP).series)
    assert len(series["at"]) == 144
    assert [line["name"] for line in series["series"]] == ["allowed", "alerted", "blocked", "refused or failed"]
    assert series["series"][0]["values"] == [3] * 144


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    port: int
    tags: list[str] = []


def test_numbers_in_forms_are_text() -> None:
    assert convert({"port": "80"}, Wanted).port == 80


@pytest.mark.parametrize(
    ("values", "field"),
    [({"port": "many"}, "port"), ({"port": 1, "tags": [1]}, "tags"), ({}, "form"), ({"port": 1, "x": 2}, "form")],
)
def test_a_value_that_does_not_fit_names_its_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        convert(values, Wanted)
    assert list(caught.value.fields) == [field]


def test_entries_are_separated_by_lines_or_commas() -> None:
    assert lines(" a \n\nb, c ,") == ["a", "b", "c"]
