"""A verdict in the words of a security assessment (LLMSG-GUARD-2), for those who ask instead of sending traffic."""

from __future__ import annotations

import msgspec

from rules.model import Action, Verdict

MAX_RISK_SCORE = 10
BLOCKED_RISK_SCORE = 8
FULL_SCORE = 100
"""The sum of scores that is the highest risk."""


class SecurityAssessment(msgspec.Struct, frozen=True):
    """Whether a text may go on, and if not, why."""

    is_safe: bool
    """Whether nothing in it had to be refused, also where the policy only logs."""
    violated_rule: str
    """The id of the rule that decided; empty where nothing was found."""
    reason: str
    risk_score: int
    """From 1, nothing found, to 10; what had to be refused is at least an 8."""


def assess(verdict: Verdict) -> SecurityAssessment:
    """The assessment that a verdict amounts to."""
    refused = max(verdict.action, verdict.decision.would_action) is Action.BLOCK
    risk = 1 + min(verdict.score, FULL_SCORE) * (MAX_RISK_SCORE - 1) // FULL_SCORE
    return SecurityAssessment(
        is_safe=not refused,
        violated_rule=verdict.decision.rule_id,
        reason=verdict.reason,
        risk_score=max(risk, BLOCKED_RISK_SCORE) if refused else risk,
    )
