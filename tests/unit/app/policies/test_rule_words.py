"""The condition of a rule in words, and what becomes of it in policies."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.policies.in_policies import Standing, standings
from app.policies.library import PolicyLibrary
from app.policies.rule_words import CHECKSUM, VALIDATORS, Part, Words, condition
from rules.packs import Capture, Match, Rule
from rules.policy import Policy
from rules.validators import _JUDGES, _RAISERS


@pytest.fixture(scope="module")
def rule() -> Rule:
    found = PolicyLibrary.shipped().rule("prompt-injection", "PI-0001")
    assert found is not None
    return found


def said(rule: Rule, match: dict[str, Any], **changes: Any) -> list[Part]:
    return condition(
        msgspec.structs.replace(rule, **{"match": msgspec.convert(match, Match), "validators": (), **changes})
    )


def test_SYP_POL_6_a_rule_says_its_whole_condition_in_words(rule: Rule) -> None:
    match = {
        "all": [{"re": "a", "flags": "i"}, {"re": "b"}],
        "any": [{"re": "c"}, {"re": "d"}],
        "near": [{"re": "e", "within": 40}, {"re": "f", "within": 40, "flags": "ms"}, {"re": "g", "within": 9}],
        "none": [{"re": "h"}, {"re": "i", "within": 12}, {"re": "j", "within": 12, "overlaps": True}],
        "min_count": 3,
    }
    parts = said(rule, match)
    assert [part.words for part in parts] == [
        "The text holds this. Each place where it does is a match.",
        "The same text also holds this, anywhere.",
        "The same text also holds one of these 2, anywhere.",
        "In the match or at most 40 characters from it stands each of these 2.",
        "In the match or at most 9 characters from it stands this.",
        "The text does not hold this, anywhere.",
        "Neither in the match nor at most 12 characters from it stands this.",
        "The match shares no character with this; beside it that may stand.",
        "One text holds at least 3 such matches; fewer are no hit.",
    ]
    assert parts[0].patterns == (Words("a", ""),)
    assert parts[0].flags == "ignores case"
    assert parts[3].patterns[1].flags == "^ and $ also at line ends, . also matches line ends"
    shown = [pattern.re for part in parts for pattern in part.patterns]
    assert sorted(shown) == list("abcdefghij"), "no pattern of the rule is left out"


def test_what_is_asked_of_the_value_is_said(rule: Rule) -> None:
    names = ("card", "entropy>=3.5", "id:us-ssn", "context:[ni number, nino]±60", CHECKSUM)
    parts = said(rule, {"any": [{"re": "(a)"}]}, validators=names, capture=Capture(group=1))
    assert [part.words for part in parts[1:]] == [
        "In the match or at most 60 characters from it stands one of the words “ni number”, “nino”, case ignored.",
        "What group 1 of the match holds is:",
        "It hits without a right checksum too; with one its confidence is high.",
    ]
    assert [point[:20] for point in parts[2].points] == [
        "a card number of a l",
        "as random as at leas",
        "a number whose check",
    ]


def test_a_draft_that_is_not_sound_has_words_too(rule: Rule) -> None:
    assert said(rule, {"near": [{"re": "a", "within": 3}]}) == []
    assert said(rule, {"any": [{"re": "a"}]}, validators=("nonsense",))[1].points == ("nonsense",)


def test_there_are_words_for_every_validator_and_every_shipped_rule() -> None:
    assert {name for name in _JUDGES if not name.startswith("id:")} == set(VALIDATORS)
    assert set(_RAISERS) == {CHECKSUM}
    assert VALIDATORS.keys().isdisjoint(_RAISERS)
    packs = PolicyLibrary.shipped().shared_packs.values()
    silent = [rule.id for pack in packs for rule in pack.rules if not condition(rule)[0].patterns]
    assert silent == []


def test_what_a_rule_does_in_each_policy_follows_its_overrides(rule: Rule) -> None:
    def policy(name: str, **fields: Any) -> Policy:
        return msgspec.convert({"name": name, "packs": ["prompt-injection"], **fields}, Policy)

    quiet = {"rules": "PI-*", "log_only": True, "reason": "loud"}
    policies = [
        policy("as-it-is"),
        policy("off", overrides=[{"rules": "PI-0001", "enabled": False}]),
        policy("quiet", overrides=[quiet]),
        policy(
            "last-word",
            overrides=[quiet, {"rules": "PI-0001", "log_only": False, "action": "alert", "severity": "low"}],
        ),
        policy("watching", enforcement="log_only"),
        policy("without", packs=["secrets"]),
    ]
    assert [
        (one.policy, one.action, one.severity, one.log_only, one.changed)
        for one in standings(rule, "prompt-injection", policies)
    ] == [
        ("as-it-is", "block", "high", False, False),
        ("off", "off", "high", False, True),
        ("quiet", "block", "high", True, True),
        ("last-word", "alert", "low", False, True),
        ("watching", "block", "high", True, False),
    ]
    assert isinstance(standings(rule, "prompt-injection", policies)[0], Standing)
