"""Sets of characters as patterns over bytes: they match what the set holds, in every case, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.patterns import key_of, regexp
from rules.utf8_classes import byte_sequences

OUTSIDE_ASCII = st.integers(0x80, 0x10FFFF).filter(lambda code: not 0xD800 <= code <= 0xDFFF)
EDGES = [0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF, 0x7FE, 0xFFF, 0x1000, 0x3FFFF, 0x40000]


def compiled(low: int, high: int) -> re.Pattern[bytes] | None:
    sequences = byte_sequences([(low, high)])
    return re.compile(b"(?:" + b"|".join(sequences) + b")", re.DOTALL) if sequences else None


@given(
    ends=st.tuples(st.sampled_from(EDGES) | OUTSIDE_ASCII, st.sampled_from(EDGES) | OUTSIDE_ASCII), probe=OUTSIDE_ASCII
)
def test_a_range_matches_its_characters(ends: tuple[int, int], probe: int) -> None:
    low, high = sorted(ends)
    pattern = compiled(low, high)
    if pattern is None:
        return
    for code in {low, high, probe, *(code for code in EDGES if low <= code <= high)}:
        if low <= code <= high and not 0xD800 <= code <= 0xDFFF:
            assert pattern.fullmatch(chr(code).encode()), hex(code)
        elif chr(code).lower() == chr(code).upper() == chr(code).title():
            assert not pattern.fullmatch(chr(code).encode()), hex(code)


@pytest.mark.parametrize(
    ("low", "high"), [(0x3B1, 0x3C9), (0x430, 0x44F), (0xE0, 0xFF), (0xFF21, 0xFF3A), (0x10400, 0x1040A)]
)
def test_what_re2_takes_for_the_same_letter_is_matched(low: int, high: int) -> None:
    pattern = compiled(low, high)
    assert pattern
    exact = regexp(key_of(f"^[{chr(low)}-{chr(high)}]$", "i"))
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x11000)):
        data = chr(code).encode()
        if exact.search(data):
            assert pattern.fullmatch(data), hex(code)


def test_a_set_that_takes_too_many_alternatives_is_refused() -> None:
    assert byte_sequences([(code, code) for code in range(0x4E00, 0x9000, 100)]) is None
