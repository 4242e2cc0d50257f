"""The rate meter over a clock that the test moves."""

from __future__ import annotations

from app.traffic.rate import RateMeter


def test_the_rate_is_the_mean_of_the_last_whole_seconds() -> None:
    now = 1000.0
    meter = RateMeter(lambda: now)
    meter.add(50)
    assert meter.per_second() == 0.0  # The running second is not complete.
    now = 1001.5
    meter.add(50)
    now = 1002.0
    assert meter.per_second(over_seconds=10) == 10.0
    assert meter.per_second(over_seconds=2) == 50.0


def test_what_is_older_than_the_ring_is_forgotten() -> None:
    now = 1000.0
    meter = RateMeter(lambda: now)
    meter.add(7)
    now = 1060.0  # The same slot of the ring, a minute later.
    assert meter.per_second() == 0.0
    meter.add(1)
    now = 1061.0
    assert meter.per_second(over_seconds=1) == 1.0
