"""Quantiles out of buckets."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from app.traffic.histogram import BOUNDS_MS, BUCKETS, bucket, quantile


def counts_of(values: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket(value)] += 1
    return counts


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile([0] * BUCKETS, 0.99) is None


def test_bounds_are_inclusive_and_the_last_bucket_is_open() -> None:
    assert bucket(BOUNDS_MS[0]) == 0
    assert bucket(BOUNDS_MS[0] + 1e-9) == 1
    assert bucket(1e9) == BUCKETS - 1
    assert quantile(counts_of([1e9]), 0.5) == BOUNDS_MS[-1]


@given(st.lists(st.floats(0.001, BOUNDS_MS[-1]), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_value(values: list[float], fraction: float) -> None:
    true = sorted(values)[math.ceil(fraction * len(values)) - 1]
    found = quantile(counts_of(values), fraction)
    assert found is not None
    index = bucket(true)
    lower = BOUNDS_MS[index - 1] if index else 0.0
    assert lower <= found <= BOUNDS_MS[index] + 1e-9
