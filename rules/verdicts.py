"""From findings to one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rules.model import ALLOWED, Action, Confidence, Finding, Verdict

BLOCK_SCORE = 100
"""Sum of the scores of different rules at which two independent signals are enough to block."""


def decide(findings: Sequence[Finding], *, log_only: bool) -> Verdict:
    """The verdict on a message with these findings.

    The strongest action wins, with one exception: a block needs a high-confidence rule, or at least two different
    rules that alert or block, one of them a blocking one, whose scores add up to `BLOCK_SCORE`. A blocking finding
    without that support alerts. Masking in traffic is not in force yet, so `redact` alerts as well. With `log_only`
    nothing is stronger than an alert.
    """
    if not findings:
        return ALLOWED
    scores: dict[str, int] = {}
    for finding in findings:
        scores[finding.rule_id] = max(scores.get(finding.rule_id, 0), finding.score)
    action, deciding = _strongest(findings)
    reason = _sentence(deciding)
    if action is Action.BLOCK and log_only:
        action = Action.ALERT
        reason += " (log only)"
    return Verdict(action=action, score=sum(scores.values()), findings=tuple(findings), reason=reason)


def _strongest(findings: Sequence[Finding]) -> tuple[Action, Finding]:
    blocking = [finding for finding in findings if finding.action is Action.BLOCK]
    for finding in blocking:
        if finding.confidence is Confidence.HIGH:
            return Action.BLOCK, finding
    signals: dict[str, int] = {}
    for finding in findings:
        if finding.action in (Action.BLOCK, Action.ALERT):
            signals[finding.rule_id] = max(signals.get(finding.rule_id, 0), finding.score)
    if blocking and len(signals) >= 2 and sum(signals.values()) >= BLOCK_SCORE:
        return Action.BLOCK, max(blocking, key=_weight)
    strongest = max(findings, key=lambda finding: (min(finding.action, Action.ALERT), *_weight(finding)))
    return min(strongest.action, Action.ALERT), strongest


def _weight(finding: Finding) -> tuple[int, int, int]:
    return finding.severity, finding.confidence, finding.score


def _sentence(finding: Finding) -> str:
    place = finding.target.value.replace("_", " ")
    return f"Rule {finding.rule_id}: {finding.title} in {place}"
