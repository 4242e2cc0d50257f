"""No pattern can slow the gateway down, however its counts are put together (AG-PE-10)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rules.patterns import PatternRefused, key_of
from rules.policy import read_policy
from rules.policy_lint import lint_read
from rules.search_cost import MAX_MICROSECONDS_PER_BYTE, PROBE_BYTES, check_pattern, check_search_cost

SLOW = (
    r"[^x]{1,1000}[^y]{1,1000}[^z]{1,1000}z",
    r"(?:a?){1000}a{1000}",
    r"\d{1,500}\d{1,500}\d{1,500}x",
    r"(?:a|b){0,900}(?:a|c){0,900}[^q]{900}q",
    # Slow where runs of different characters take turns only.
    r"\d{1,1000}\D{1,1000}\d{1,1000}\D",
    r"[a-z]{1,1000}[0-9]{1,1000}[a-z]{1,1000}",
    r"[^\n]{1,1000}bad",
    r"\W{1,900}a",
    r"[a-z]{1,700}\W{0,500}",
)


@pytest.mark.parametrize("pattern", SLOW)
def test_ag_pe_10_a_pattern_that_is_slow_to_look_for_is_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused, match="a byte or more to look for"):
        check_pattern(key_of(pattern, ""))


@pytest.mark.parametrize(
    "pattern",
    ["bad", ".", r"[^\n]{1,500}bad", r"(?:\w{1,30}\s){1,30}!", r"https?://[^\s]{1,160}\?(?:[^&]{0,120}&){0,6}x"],
)
def test_patterns_with_moderate_counts_pass(pattern: str) -> None:
    check_pattern(key_of(pattern, "i"))


def test_ag_pe_10_a_slow_pattern_of_a_policy_is_named_by_pointer() -> None:
    document = {
        "name": "slow",
        "rules": [{"id": "r", "action": "deny", "match": {"message_content": {"pattern": SLOW[0]}}}],
    }

    found = lint_read(*read_policy(json.dumps(document).encode(), "slow.json"), "slow.json")
    problems = [(problem.pointer, problem.reason) for problem in found]

    assert [pointer for pointer, _ in problems] == ["/rules/0/match/message_content/pattern"]
    assert "to look for" in problems[0][1]


def test_only_what_stays_slow_is_refused() -> None:
    """The first search of a pattern builds what RE2 remembers; a busy machine may count that as time."""
    most = PROBE_BYTES * MAX_MICROSECONDS_PER_BYTE / 1e6

    def clock(slow_searches: int) -> Iterator[float]:
        now = 0.0
        for _ in range(slow_searches):
            yield now
            now += 2 * most
            yield now
        while True:
            yield now

    once, always = clock(1), clock(1_000)

    check_search_cost(key_of("bad", ""), lambda: next(once))
    with pytest.raises(PatternRefused, match="to look for"):
        check_search_cost(key_of("bad", ""), lambda: next(always))
