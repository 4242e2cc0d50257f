"""Which findings of a call become alerts."""

from __future__ import annotations

from app.alerts.recording import alerting_findings
from rules.model import Action
from tests.support.records import finding


def test_two_rules_that_say_the_same_of_the_same_words_raise_one_alert() -> None:
    blocking = finding(rule_id="PI-0069", start=0, end=32, action=Action.BLOCK, score=60)
    alike = finding(rule_id="PI-0001", start=4, end=36, action=Action.BLOCK, score=80)
    assert alerting_findings([blocking, alike]) == [alike]
    assert alerting_findings([alike, blocking]) == [alike]


def test_other_words_other_places_and_other_kinds_raise_alerts_of_their_own() -> None:
    first = finding(rule_id="PI-0001", start=0, end=10)
    others = [
        finding(rule_id="PI-0002", start=10, end=20),
        finding(rule_id="PI-0003", start=0, end=10, path="/messages/9/content"),
        finding(rule_id="PI-0004", start=0, end=10, category="prompt-injection/extraction"),
        finding(rule_id="SEC-0001", start=0, end=10, pack="secrets"),
    ]
    assert alerting_findings([first, *others]) == [first, *others]
    assert alerting_findings([finding(rule_id="TAG-1", action=Action.TAG)]) == []
