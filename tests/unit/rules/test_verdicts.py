"""From findings to one verdict."""

from __future__ import annotations

import msgspec
import pytest

from rules.engine import decide
from rules.model import ALLOWED, Action, Confidence, Finding, Severity, Target
from rules.verdicts import message_of

BASE = Finding(
    rule_id="T-1", pack="p", title="Something bad", category="test", severity=Severity.MEDIUM, confidence=Confidence.MEDIUM,
    score=60, action=Action.ALERT, target=Target.TOOL_ARGS, path="/a", start=0, end=1, view="raw", evidence="x",
)  # fmt: skip


def finding(rule_id: str, action: Action, score: int = 60, confidence: Confidence = Confidence.MEDIUM) -> Finding:
    return msgspec.structs.replace(BASE, rule_id=rule_id, action=action, score=score, confidence=confidence)


def test_no_finding_is_an_allow() -> None:
    assert decide([], log_only=False) == ALLOWED


@pytest.mark.parametrize(
    ("findings", "action", "rule_id"),
    [
        ([finding("A-1", Action.LOG)], Action.LOG, "A-1"),
        ([finding("A-1", Action.TAG), finding("A-2", Action.LOG)], Action.TAG, "A-1"),
        ([finding("A-1", Action.REDACT)], Action.REDACT, "A-1"),
        ([finding("A-1", Action.ALERT), finding("A-2", Action.TAG)], Action.ALERT, "A-1"),
        ([finding("A-1", Action.BLOCK, 10, Confidence.HIGH)], Action.BLOCK, "A-1"),
        ([finding("A-1", Action.BLOCK, 100)], Action.ALERT, "A-1"),
        ([finding("A-1", Action.BLOCK, 60), finding("A-1", Action.BLOCK, 60)], Action.ALERT, "A-1"),
        ([finding("A-1", Action.ALERT, 50), finding("A-2", Action.BLOCK, 50)], Action.BLOCK, "A-2"),
        ([finding("A-1", Action.ALERT, 50), finding("A-2", Action.BLOCK, 49)], Action.ALERT, "A-1"),
        ([finding("A-1", Action.ALERT, 90), finding("A-2", Action.ALERT, 90)], Action.ALERT, "A-1"),
        ([finding("A-1", Action.TAG, 90), finding("A-2", Action.BLOCK, 90)], Action.ALERT, "A-2"),
        ([finding("A-1", Action.ALERT, 90, Confidence.HIGH), finding("A-2", Action.LOG)], Action.ALERT, "A-1"),
    ],
)
def test_a_block_needs_high_confidence_or_two_signals(findings: list[Finding], action: Action, rule_id: str) -> None:
    verdict = decide(findings, log_only=False)
    assert verdict.action is action
    assert verdict.reason == f"Something bad in tool args (rule {rule_id})"
    assert [found.rule_id for found in verdict.findings] == [found.rule_id for found in findings]
    blocks = {found.action for found in verdict.findings} >= {Action.BLOCK}
    assert blocks is (action is Action.BLOCK), "a finding blocks only where the message is blocked"
    assert verdict.decision.would_action is action


def test_the_score_counts_each_rule_once_with_its_highest() -> None:
    findings = [finding("A-1", Action.ALERT, 20), finding("A-1", Action.ALERT, 30), finding("A-2", Action.LOG, 5)]
    assert decide(findings, log_only=False).score == 35


def test_AG_PE_9_log_only_never_exceeds_an_alert_and_says_so() -> None:
    verdict = decide([finding("A-1", Action.BLOCK, 60, Confidence.HIGH)], log_only=True)
    assert (verdict.action, verdict.reason) == (Action.ALERT, "Something bad in tool args (rule A-1, log only)")
    assert verdict.decision.would_action is Action.BLOCK
    assert verdict.findings[0].action is Action.ALERT
    assert decide([finding("A-1", Action.TAG)], log_only=True).action is Action.TAG


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/messages/3/content/0/text", "/messages/3"),
        ("/messages/3", "/messages/3"),
        ("/input/12/content", "/input/12"),
        ("/contents/0/parts/1/text", "/contents/0"),
        ("/messages", ""),
        ("/messages/x", ""),
        ("/system", ""),
        ("/params/arguments/messages/1", ""),
        ("", ""),
    ],
)
def test_a_path_tells_its_message(path: str, message: str) -> None:
    assert message_of(path) == message
