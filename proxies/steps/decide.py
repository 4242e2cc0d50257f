"""From findings to the verdict on a call, by the policies that apply to it. A verdict that fails is never an allow."""

from __future__ import annotations

import logging
import time

from proxies.exchange import Exchange
from proxies.refusal import Refusal
from rules.model import Action, Finding, Verdict

logger = logging.getLogger(__name__)


def weigh(exchange: Exchange, findings: list[Finding]) -> list[Finding]:
    """Add findings to the exchange and judge all of them; those of them whose values must be masked.

    Raises `Refusal` on a block.
    """
    exchange.found += findings
    now = time.monotonic()
    try:
        exchange.verdict = exchange.protection.policies.verdict(
            exchange.found,
            earlier=exchange.conversation.since(now) if exchange.conversation is not None else (),
            log_only=exchange.proxy.config.enforcement == "log_only",
        )
    except Exception as error:
        raise inspection_failed(exchange, error) from error
    exchange.added_findings = list(exchange.verdict.findings)
    if exchange.conversation is not None:
        exchange.conversation.add(findings, now)
    if exchange.verdict.action is Action.BLOCK:
        raise _refusal(exchange.verdict)
    if exchange.verdict.action is Action.HOLD:
        if not exchange.may_hold:
            raise _refusal(exchange.verdict)
        exchange.hold = exchange.verdict
    if exchange.verdict.action < Action.REDACT:
        return []
    places = {_place(finding) for finding in findings}
    return [
        finding
        for finding in exchange.verdict.findings
        if finding.action is Action.REDACT and _place(finding) in places
    ]


def _place(finding: Finding) -> tuple[str, str, int, int]:
    return finding.rule_id, finding.path, finding.start, finding.end


def _refusal(verdict: Verdict) -> Refusal:
    """What a blocked message is answered: the content is named by its rule, a condition by the words of its author."""
    decision = verdict.decision
    if decision.source == "detection":
        return Refusal(
            decision.status,
            "blocked_by_policy",
            f"Blocked: {verdict.reason}",
            remediation="Remove the matched content, or ask an administrator to review the rule with this request id.",
            outcome="blocked",
        )
    return Refusal(
        decision.status,
        "policy_denied",
        f"Denied: {verdict.reason}",
        remediation="Ask an administrator to review the policy with this request id.",
        outcome="blocked",
    )


def inspection_failed(exchange: Exchange, error: Exception) -> Refusal:
    """The refusal of what could not be inspected or judged."""
    logger.error("inspection of %s failed: %s: %s", exchange.id, type(error).__name__, error)
    return Refusal(
        500,
        "inspection_failed",
        "The gateway could not inspect this message, so it did not pass.",
        remediation="Try again; if it persists, give the request id to an administrator.",
        outcome="failed",
    )
