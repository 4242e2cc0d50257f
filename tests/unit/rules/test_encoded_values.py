"""Values that only decoding shows, where there are more of them than views."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rules.encoded_values import beyond_views
from rules.engine import Ruleset
from rules.evaluator import TooMuchToMask
from rules.model import Action, Finding, Text
from tests.unit.rules.small_packs import pack, prompt, rule, ruleset

VIEWS = ["raw", "normalized", "decoded"]
MATCH = {"any": [{"re": r"\bu[0-9]{1,9}@example\.com\b"}]}


@pytest.fixture(scope="module")
def small() -> Ruleset:
    fields = {"category": "pii/email", "views": VIEWS, "targets": ["prompt"]}
    return ruleset(pack("encoded", rule("T-1", MATCH, ("u1@example.com", "b"), action="redact", **fields)))


def nothing(_pack: str, _rule_id: str, _category: str, _action: Action) -> bool:
    return False


def text_with(count: int) -> str:
    return " ".join(f"https://a.example/{number}?to=u{number}%40example.com" for number in range(count))


def test_RED_STR_12_every_value_is_found_once_and_in_its_place(small: Ruleset) -> None:
    text = prompt(text_with(1_500))

    def scan(texts: Sequence[Text]) -> list[Finding]:
        return small.scan(texts, direction="request")

    known = scan([text])
    found = known + beyond_views([text], scan, nothing, known)

    assert 0 < len(known) < 1_500
    values = [text.text[finding.value_start : finding.value_end] for finding in found]
    assert sorted(values) == sorted(f"u{number}%40example.com" for number in range(1_500))


def test_a_message_without_encoded_values_is_not_searched_again(small: Ruleset) -> None:
    text = prompt("write to u1@example.com, see https://a.example/?q=a%20b")
    known = small.scan([text], direction="request")
    assert known

    def scan(texts: Sequence[Text]) -> list[Finding]:
        raise AssertionError(texts)

    assert beyond_views([text], scan, nothing, known) == []


def test_RED_STR_7_a_text_of_which_there_is_no_end_is_refused(small: Ruleset) -> None:
    text = prompt(text_with(3))
    known = small.scan([text], direction="request")
    with pytest.raises(TooMuchToMask):
        beyond_views([text], lambda _texts: list(known), nothing, known)
