"""The linter: patterns in all engines, validators, groups and examples (AG-PE-10)."""

from __future__ import annotations

from typing import Any

import pytest

from rules.lint import lint_pack
from tests.unit.rules.small_packs import pack_bytes, rule


def lint(match: dict[str, Any], examples: tuple[str, str] = ("bad", "good"), **fields: Any) -> list[tuple[str, str]]:
    data = pack_bytes("some", rule("T-1", match, examples, **fields))
    return [(problem.pointer, problem.reason) for problem in lint_pack(data, "some.json")]


def test_a_sound_rule_has_no_problem() -> None:
    assert lint({"any": [{"re": "bad"}]}) == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?=x)bad", "look-around"),
        (r"(a)\1bad", "back-references"),
        ("bad(", "parenthesis"),
        ("[[a]bad", "Python"),
        ("(?P<a-b>bad)", "not portable"),
        ("b*", "without a character"),
        (r"bad|\b", "without a character"),
        ("bad.*", "upper bound"),
        (r"bad\S{3,}x", "upper bound"),
        ("bad[^x]+y", "upper bound"),
        (r"\Abad", "not portable"),
        ("bad\0", "NUL"),
        (r"bad[[:alpha:]]", "not portable"),
        (r"bad\011", "not portable"),
        ("bad[z-a]", "not portable: a range that ends before it begins"),
        (r"bad[\x7a-a]", "not portable: a range that ends before it begins"),
        ("(?:ab{1,1000}){1000}", "RE2"),
        ("(?:^bad){2}", "Hyperscan refuses it: "),
    ],
)
def test_AG_PE_10_a_pattern_that_an_engine_refuses_is_named(pattern: str, words: str) -> None:
    ((pointer, reason),) = lint({"any": [{"re": "bad"}, {"re": pattern}]})
    assert (pointer, words in reason) == ("/rules/0/match/any/1/re", True), reason
    assert not reason.endswith("."), "it becomes a part of a sentence"


@pytest.mark.parametrize("pattern", [r"bad[\w.+-]{0,9}x?", r"bad\.{0,9}", r"bad[.*+]?", r"bad.{0,80}?"])
def test_bounded_gaps_and_classes_that_only_look_unbounded_are_accepted(pattern: str) -> None:
    assert lint({"any": [{"re": pattern}]}) == []


def test_AG_PE_10_each_list_of_patterns_is_checked() -> None:
    bad = {"re": "(", "within": 5}
    found = lint({"all": [{"re": "bad"}], "near": [bad], "none": [bad]})
    assert [pointer for pointer, _ in found] == ["/rules/0/match/near/0/re", "/rules/0/match/none/0/re"]


def test_AG_PE_10_a_rule_needs_an_anchor() -> None:
    assert lint({"near": [{"re": "a", "within": 5}]}) == [("/rules/0/match", "needs a pattern in all or any")]


def test_AG_PE_10_unknown_validators_and_groups_are_named() -> None:
    assert lint({"any": [{"re": "bad"}]}, validators=["luhn", "magic"]) == [
        ("/rules/0/validators/1", "unknown validator 'magic'")
    ]
    ((pointer, reason),) = lint({"any": [{"re": "(bad)"}, {"re": "worse"}]}, capture={"group": 2})
    assert (pointer, "group 2" in reason) == ("/rules/0/capture/group", True)
    assert lint({"any": [{"re": "worse"}, {"re": "(bad)"}]}, capture={"group": 1}) == []


def test_AG_PE_10_an_example_that_does_not_hold_is_named() -> None:
    assert lint({"any": [{"re": "bad"}]}, ("fine", "so bad")) == [
        ("/rules/0/examples/match/0", "T-1 does not hit this example"),
        ("/rules/0/examples/no_match/0", "T-1 hits this example"),
    ]


def test_examples_run_in_the_rules_own_target_direction_and_views() -> None:
    match = {"any": [{"re": "bad"}]}
    assert lint(match, targets=["error"], direction=["response"]) == []
    assert lint(match, ("b\u200bad", "bad"), views=["normalized"]) == []


def test_a_format_problem_ends_the_check() -> None:
    assert [problem.pointer for problem in lint_pack(b"{}", "some.json")] == ["/pack"]


def test_AG_PE_10_a_pattern_or_pack_that_costs_too_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    costly = {"any": [{"re": "bad"}, {"re": "(?:[a-f]{1,9}[0-9]{40}){2}|[g-z]{120}x"}]}
    with monkeypatch.context() as patch:
        patch.setattr("rules.patterns.MAX_DATABASE_BYTES", 10_000)
        ((pointer, reason),) = lint(costly)
        assert (pointer, "bytes when compiled" in reason) == ("/rules/0/match/any/1/re", True)
    with monkeypatch.context() as patch:
        patch.setattr("rules.patterns.MAX_COMPILE_SECONDS", 0.0)
        assert [pointer for pointer, reason in lint(costly) if "to compile" in reason] == [
            "/rules/0/match/any/0/re",
            "/rules/0/match/any/1/re",
        ]
    ((pointer, reason),) = lint({"any": [{"re": "bad.{1,1000}[^a]{1,1000}x.{1,1000}y.{1,1000}"}, {"re": "bad"}]})
    assert (pointer, "instructions in RE2" in reason) == ("/rules/0/match/any/0/re", True)
    with monkeypatch.context() as patch:
        patch.setattr("rules.lint.MAX_PACK_BYTES", 10_000)
        ((pointer, reason),) = lint({"any": [{"re": "bad"}]})
        assert (pointer, "when compiled" in reason) == ("", True)
    monkeypatch.setattr("rules.lint.MAX_PATTERNS", 1)
    ((pointer, reason),) = lint(costly)
    assert (pointer, "2 different patterns" in reason) == ("/rules", True)
