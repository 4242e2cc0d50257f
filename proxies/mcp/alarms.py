"""Alerts that no rule raises: what the gateway itself notices about a call."""

from __future__ import annotations

from proxies.exchange import Exchange
from rules.model import Action, Finding, Verdict
from rules.verdicts import stronger


def raise_alarm(exchange: Exchange, finding: Finding) -> None:
    """Put a finding into the record of this call and have it raise an alert, whatever else becomes of the call."""
    exchange.added_findings.append(finding)
    alert = Verdict(Action.ALERT, finding.score, (finding,), f"{finding.title}.")
    exchange.verdict = stronger(exchange.verdict, alert)
