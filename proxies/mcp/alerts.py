"""Alerts that no rule raises: what the gateway itself notices about a call."""

from __future__ import annotations

from proxies.exchange import Exchange
from rules.model import Action, Confidence, Finding, Severity, Target, Verdict
from rules.verdicts import stronger


def alerting_finding(rule_id: str, title: str, *, category: str, evidence: str) -> Finding:
    """What is noticed about a call as a whole: there is no place in a text where it stands."""
    return Finding(
        rule_id=rule_id,
        pack="mcp",
        title=title,
        category=category,
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=60,
        action=Action.ALERT,
        target=Target.ERROR,
        path="",
        start=0,
        end=0,
        view="raw",
        evidence=evidence,
    )


def raise_alert(exchange: Exchange, finding: Finding) -> None:
    """Put a finding into the record of this call and have it raise an alert, whatever else becomes of the call."""
    exchange.added_findings.append(finding)
    alert = Verdict(Action.ALERT, finding.score, (finding,), f"{finding.title}.")
    exchange.verdict = stronger(exchange.verdict, alert)
