"""Samples of what a form matches, by which a compiled part is tried."""

from __future__ import annotations

import re

import pytest

from rules.compiler import pattern_keys
from rules.form_samples import AFTER, BEFORE, MAX_SAMPLES, overlooked, samples
from rules.packs import SHIPPED, load_directory
from rules.patterns import PatternKey, expressions, found_by_form


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (rb"\bab?c{2}\d", [b"abcc0", b"acc7"]),
        (rb"x|(?:y|z)+", [b"x", b"yy", b"zz", b"y", b"z"]),
        (rb"^[^a]\.\x41$", [b"!.A", b"\n!.A\n"]),
        (rb"(?i)k(?s:.)*", [b"kkk", b"k"]),
        (rb"q{3,}", [b"qqqq", b"qqq"]),
        (rb"\s\S\W\D\n", [b" x x\n"]),
        (rb"a\b[ a]{0,20}\bb", [b"a  b", b"a" + b"a" * 20 + b"b"]),
    ],
)
def test_samples_show_what_a_form_may_match(source: bytes, expected: list[bytes]) -> None:
    found = samples(source)
    assert set(expected) <= set(found)
    assert all(re.search(source.replace(rb"\b", b""), sample, re.MULTILINE) for sample in found)


def test_every_alternative_at_the_beginning_has_its_turn() -> None:
    words = [f"word{number}" for number in range(30)]
    found = samples(("(?:" + "|".join(words) + ") (?:one|two|three)").encode())
    assert {sample.split()[0].decode() for sample in found} == set(words)
    assert len(found) <= 2 * MAX_SAMPLES


def test_a_form_is_overlooked_when_one_of_its_samples_is() -> None:
    (first,) = expressions(PatternKey("alpha|beta", ""), every=True)
    (second,) = expressions(PatternKey("gamma", ""), every=True)
    seen: list[bytes] = []

    def scan(text: bytes) -> set[int]:
        seen.append(text)
        return {1} if b"beta" in text else {0, 1}

    assert overlooked([first, second], scan) == (0,)
    assert seen == [BEFORE + word + AFTER for word in (b"alpha", b"beta", b"gamma")]


def test_samples_of_every_shipped_pattern_match_its_form() -> None:
    for key in pattern_keys(list(load_directory(SHIPPED).values())):
        for form in expressions(key, every=True):
            assert any(found_by_form(form, BEFORE + sample + AFTER) for sample in samples(form.source)), form.source
