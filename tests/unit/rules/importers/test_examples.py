"""An example that is made from a pattern is one that the pattern hits."""

from __future__ import annotations

import pytest

from rules.importers.examples import HARMLESS, counter_example, example_of
from rules.patterns import key_of, regexp


@pytest.mark.parametrize(
    ("pattern", "flags"),
    [
        ("plain", ""),
        (r"\bEMP[-_]?\d{6}\b", ""),
        (r"(?:one|two|three) +(?:four|five)", "i"),
        (r"[^a-z]{3}x", ""),
        (r"^start[\s\S]{2,4}end$", ""),
        (r"\Bhidden\B", ""),
        (r"a{2,}b*c+d?", ""),
        (r"[\w.]+@[\w.]+\.(com|org)", ""),
        (r"[^\d]\D\W\S", ""),
        (r"é[à-ü]", ""),
        (r"x[^a]y", "s"),
        ("[~]", ""),
    ],
)
def test_an_example_is_hit_by_its_pattern(pattern: str, flags: str) -> None:
    text = example_of([{"re": pattern, "flags": flags}])
    assert text is not None
    assert regexp(key_of(pattern, flags)).search(text.encode()) is not None


def test_an_example_holds_as_many_hits_as_the_rule_needs() -> None:
    text = example_of([{"re": "once"}, {"re": "again"}], 3)
    assert text == "once\nagain\nonce"


def test_a_counter_example_is_hit_by_none_and_may_not_exist() -> None:
    assert counter_example([{"re": "summarise"}]) == HARMLESS[1]
    assert counter_example([{"re": "[a-z]"}]) == ""
