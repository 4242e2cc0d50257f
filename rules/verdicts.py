"""From findings to one verdict: which action the findings of a message amount to under given thresholds.

`policy_evaluation` judges by the policies of a proxy; `decide` is the same judgement under the default thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from rules.model import ALLOWED, Action, Confidence, Decision, Finding, Verdict
from rules.policy import RiskLevels, Thresholds

DEFAULT_THRESHOLDS = Thresholds()
_MESSAGE_LISTS = frozenset({"messages", "input", "contents"})


class Judgement(NamedTuple):
    """What findings amount to."""

    action: Action
    deciding: Finding | None
    """The finding to name; None when there are no findings."""
    threshold: int = 0
    """The sum that was reached, where signals decided together."""


NOTHING = Judgement(Action.ALLOW, None)


def decide(findings: Sequence[Finding], *, log_only: bool) -> Verdict:
    """The verdict on a message with these findings under the default thresholds and without a policy.

    With `log_only` nothing is stronger than an alert.
    """
    if not findings:
        return ALLOWED
    judged = judge(findings, DEFAULT_THRESHOLDS)
    assert judged.deciding is not None  # There are findings.
    action = min(judged.action, Action.ALERT) if log_only else judged.action
    score = total_score(findings)
    return Verdict(
        action=action,
        score=score,
        findings=tuple(in_effect(finding, action, log_only=log_only) for finding in findings),
        reason=sentence(judged.deciding, log_only=action < judged.action),
        decision=Decision(
            source="detection",
            rule_id=judged.deciding.rule_id,
            would_action=judged.action,
            threshold=judged.threshold,
            risk=risk_level(score, DEFAULT_THRESHOLDS.risk),
        ),
    )


def judge(findings: Sequence[Finding], thresholds: Thresholds, earlier: Sequence[Finding] = ()) -> Judgement:
    """What the findings of one call amount to; `earlier` are those of the messages before it in its conversation.

    The strongest action wins, with one exception: a block needs a high-confidence rule, or two different rules that
    alert or block, one of them a blocking one, whose scores reach a threshold: in one message that of the message, in
    the whole conversation that of the conversation. A blocking finding without that support alerts. The blocking one is
    always of this call: what is over does not block what is harmless.
    """
    if not findings:
        return NOTHING
    blocking = [finding for finding in findings if finding.action is Action.BLOCK]
    for finding in blocking:
        if finding.confidence is Confidence.HIGH:
            return Judgement(Action.BLOCK, finding)
    if blocking:
        if (threshold := thresholds.message_block) is not None:
            for group in _by_message(findings).values():
                own = [finding for finding in group if finding.action is Action.BLOCK]
                if own and _agree(group, threshold):
                    return Judgement(Action.BLOCK, max(own, key=_weight), threshold)
        if (threshold := thresholds.conversation_block) is not None and _agree([*findings, *earlier], threshold):
            return Judgement(Action.BLOCK, max(blocking, key=_weight), threshold)
    return _below_block(findings, thresholds)


def _below_block(findings: Sequence[Finding], thresholds: Thresholds) -> Judgement:
    strongest = max(findings, key=lambda finding: (_unsupported(finding.action), *_weight(finding)))
    action = _unsupported(strongest.action)
    if action < Action.ALERT and (threshold := thresholds.message_alert) is not None:
        for group in _by_message(findings).values():
            if total_score(group) >= threshold:
                return Judgement(Action.ALERT, max(group, key=_weight), threshold)
    return Judgement(action, strongest)


def _unsupported(action: Action) -> Action:
    """What a finding's action is worth where nothing is blocked."""
    return Action.ALERT if action is Action.BLOCK else action


def _agree(findings: Iterable[Finding], threshold: int) -> bool:
    """Whether at least two different rules signal and their scores reach the threshold."""
    signals: dict[str, int] = {}
    for finding in findings:
        if finding.action in (Action.BLOCK, Action.ALERT):
            signals[finding.rule_id] = max(signals.get(finding.rule_id, 0), finding.score)
    return len(signals) >= 2 and sum(signals.values()) >= threshold


def _by_message(findings: Iterable[Finding]) -> Mapping[str, list[Finding]]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(message_of(finding.path), []).append(finding)
    return groups


def message_of(path: str) -> str:
    """The message that a path lies in: `/messages/3`, or an empty string for everything outside a list of messages."""
    _, _, rest = path.partition("/")
    name, _, below = rest.partition("/")
    index = below.partition("/")[0]
    return f"/{name}/{index}" if name in _MESSAGE_LISTS and index.isdecimal() else ""


def stronger(one: Verdict, other: Verdict) -> Verdict:
    """The stronger of two verdicts on parts of one call, the later one where they are equal, with the tags of both."""
    chosen = one if one.action > other.action else other
    would = max(one.decision.would_action, other.decision.would_action)
    tags = tuple(dict.fromkeys((*one.decision.tags, *other.decision.tags)))
    decision = chosen.decision
    if would is decision.would_action and tags == decision.tags:
        return chosen
    return msgspec.structs.replace(chosen, decision=msgspec.structs.replace(decision, would_action=would, tags=tags))


def _weight(finding: Finding) -> tuple[int, int, int]:
    return finding.severity, finding.confidence, finding.score


def in_effect(finding: Finding, action: Action, *, log_only: bool) -> Finding:
    """The finding with the action that it has where the message gets `action`: it blocks only a blocked message."""
    effective = finding.action
    if log_only:
        effective = min(effective, Action.ALERT)
    elif effective is Action.BLOCK and action is not Action.BLOCK:
        effective = Action.ALERT
    return finding if effective is finding.action else msgspec.structs.replace(finding, action=effective)


def total_score(findings: Iterable[Finding]) -> int:
    """The sum of the scores, each rule counted once with its highest."""
    scores: dict[str, int] = {}
    for finding in findings:
        scores[finding.rule_id] = max(scores.get(finding.rule_id, 0), finding.score)
    return sum(scores.values())


def sentence(finding: Finding, *, policy: str = "", log_only: bool = False) -> str:
    """What was found where, by which rule of which policy."""
    place = "" if finding.category.startswith("policy/") else f" in {finding.target.value.replace('_', ' ')}"
    rule = f"rule {finding.rule_id}" + (f", policy {policy}" if policy else "") + (", log only" if log_only else "")
    return f"{finding.title}{place} ({rule})"


def risk_level(score: int, levels: RiskLevels) -> str:
    """The word for a sum of scores (SYP-RISK-1)."""
    for word in ("critical", "high", "medium", "low"):
        if score >= getattr(levels, word):
            return word
    return "none"
