"""Time ranges: totals, rankings and charts of one window cover the same calls."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.traffic.window import Window

NOW = datetime(2026, 11, 20, 10, 37, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "first", "step", "steps"),
    [
        (1, datetime(2026, 11, 20, 9, 38, tzinfo=UTC), 1, 60),
        (3, datetime(2026, 11, 20, 7, 38, tzinfo=UTC), 1, 180),
        (12, datetime(2026, 11, 19, 23, 0, tzinfo=UTC), 5, 140),
        (24, datetime(2026, 11, 19, 11, 0, tzinfo=UTC), 10, 142),
        (168, datetime(2026, 11, 13, 11, 0, tzinfo=UTC), 60, 168),
    ],
)
def test_a_long_window_begins_with_a_whole_hour(hours: int, first: datetime, step: int, steps: int) -> None:
    window = Window.last(hours, NOW)
    assert window.first_minute == first.timestamp() // 60
    assert (window.step_minutes, len(window.steps)) == (step, steps)


def test_today_begins_at_midnight() -> None:
    window = Window.today(NOW)
    assert window.first_minute == datetime(2026, 11, 20, tzinfo=UTC).timestamp() // 60
    assert window.is_hourly


@given(st.integers(1, 720), st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)))
def test_the_steps_of_a_chart_cover_the_window_and_are_few(hours: int, moment: datetime) -> None:
    window = Window.last(hours, moment.replace(tzinfo=UTC))
    assert len(window.steps) <= 181
    assert window.steps[0] * window.step_minutes <= window.first_minute
    assert window.last_minute < (window.steps[-1] + 1) * window.step_minutes
    assert window.last_minute - window.first_minute <= hours * 60
