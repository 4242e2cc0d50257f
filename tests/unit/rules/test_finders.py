"""The quick way to a match says what RE2's own search says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.patterns import Regexps, key_of

KEYS = [
    key_of(pattern, flags)
    for pattern, flags in [(r"\b(\d{2})-?(a)?\b", ""), ("^a", "m"), ("(x)|(é)", "i"), ("", ""), ("b.?$", "s")]
]
REGEXPS = Regexps(KEYS, [None] * len(KEYS))


@given(
    st.integers(0, len(KEYS) - 1),
    st.text(alphabet="12ab-\nxXé ", max_size=12),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_spans_are_those_of_the_first_match(number: int, text: str, low: int, high: int) -> None:
    data = text.encode()
    low, high = min(low, len(data)), min(high, len(data))
    match = REGEXPS[number].search(data, low, high)
    spans = REGEXPS.finders[number](data, low, high)
    if match is None:
        assert spans is None
    else:
        assert spans is not None
        assert list(spans) == [match.span(group) for group in range(REGEXPS[number].groups + 1)]
