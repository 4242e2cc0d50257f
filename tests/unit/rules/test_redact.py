"""Evidence shows enough to understand and nothing that must stay secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.redact import MAX_EVIDENCE_CHARS, excerpt, mask

SECRET = "hT7!kq0Zp2wQ"


@pytest.mark.parametrize(("value", "shown"), [("short", "…(5)"), ("12345678", "12…(8)"), (SECRET, "hT7!…(12)")])
def test_a_mask_shows_the_beginning_of_long_values_only(value: str, shown: str) -> None:
    assert mask(value) == shown


def test_the_excerpt_has_context_on_both_sides() -> None:
    text = "a" * 18 + " " + "b" * 18 + " " + "c" * 18 + " hit " + "d" * 18 + " " + "e" * 18 + " f" * 18
    start = text.index("hit")
    assert excerpt(text, start, start + 3, []) == text[start - 40 : start + 43]


def test_sensitive_spans_are_masked_also_where_they_overlap_or_reach_out_of_the_excerpt() -> None:
    text = f"key {SECRET} and"
    assert excerpt(text, 4, 16, [(4, 16), (8, 16), (20, 20)]) == "key hT7!…(12) and"
    long = "word " * 10 + "p" * 15 + " " * 30 + "hit"
    assert excerpt(long, 95, 98, [(40, 65), (0, 4)]) == "word…(25)" + " " * 30 + "hit"


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("see AKIAQ3EGRM5NAZT7W2LB now", "see AKIA…(20) now"),
        ("call 0049 30 1234567", "call 0049…(15)"),
        ("wellformedlowercaseword-only", "wellformedlowercaseword-only"),
    ],
)
def test_opaque_runs_are_masked_whatever_the_rules_say(text: str, evidence: str) -> None:
    assert excerpt(text, 0, 3, []) == evidence


def test_an_opaque_run_cut_by_the_excerpt_is_masked_as_well() -> None:
    text = "AKIAQ3EGRM5NAZT7W2LB" + " " * 25 + "hit"
    assert "NAZT7W2LB" not in excerpt(text, 45, 48, [])


def test_control_and_invisible_characters_are_escaped() -> None:
    assert excerpt("a\n\t\r\x00\u200b\U000e0041é", 0, 1, []) == "a\\n\\t\\r\\u0000\\u200b\\U000e0041é"


@given(text=st.text(max_size=400), start=st.integers(0, 400), size=st.integers(0, 400))
def test_an_excerpt_is_short_and_printable(text: str, start: int, size: int) -> None:
    evidence = excerpt(text, min(start, len(text)), min(start + size, len(text)), [])
    assert len(evidence) <= MAX_EVIDENCE_CHARS
    assert evidence.isprintable()
