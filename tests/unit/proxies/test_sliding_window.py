"""Calls within a window that slides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxies.sliding_window import SLICES, SlidingWindow

ROUNDING = 1e-6


def take(window: SlidingWindow, key: str, now: float) -> float:
    """Count a call where it is allowed, else how long it waits."""
    wait = window.wait_seconds(key, now)
    if wait == 0.0:
        window.count(key, now)
    return wait


def test_AG_PE_5_the_call_after_the_limit_waits() -> None:
    window = SlidingWindow(100, 60.0)
    assert [take(window, "a", 1000.0 + n * 0.5) for n in range(100)] == [0.0] * 100
    wait = take(window, "a", 1050.0)
    assert 10.0 <= wait <= 11.0
    assert take(window, "b", 1050.0) == 0.0
    assert take(window, "a", 1050.0 + wait) == 0.0


def test_AG_PE_5_nobody_waits_longer_than_the_window() -> None:
    for begins in (0.0, 0.25, 0.999):
        window = SlidingWindow(1, 60.0)
        assert take(window, "a", begins) == 0.0
        assert take(window, "a", begins) == 60.0
        assert take(window, "a", begins + 60.0) == 0.0


def test_refused_calls_do_not_count() -> None:
    window = SlidingWindow(1, 60.0)
    assert take(window, "a", 0.0) == 0.0
    for second in range(1, 60):
        assert take(window, "a", float(second)) > 0.0
    assert take(window, "a", 60.0) == 0.0


def test_the_keys_are_bounded_and_the_idle_go_first() -> None:
    window = SlidingWindow(1, 60.0, max_keys=2)
    for key in ("a", "b", "a", "c"):
        take(window, key, 0.0)
    assert len(window) == 2
    assert take(window, "a", 1.0) > 0.0
    assert take(window, "b", 1.0) == 0.0


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=80), st.integers(1, 5), st.floats(1.0, 100.0))
def test_no_window_ever_holds_more_than_the_limit(gaps: list[float], limit: int, seconds: float) -> None:
    window, now, allowed = SlidingWindow(limit, seconds), 0.0, list[float]()
    for gap in gaps:
        now += gap
        wait = take(window, "k", now)
        if wait == 0.0:
            allowed.append(now)
            assert sum(at + seconds > now for at in allowed) <= limit
        else:
            assert 0.0 < wait <= seconds + ROUNDING
            assert sum(at >= now - seconds * (1 + 1 / SLICES) - ROUNDING for at in allowed) >= limit
