"""From a recorded call to its alerts: one per rule, with the strongest finding of that rule as the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app import ids
from app.alerts.workflow import AlertStatus
from proxies.contract import CallRecord
from rules.model import Action, Finding, Severity
from rules.policy import OWN_PACK_PREFIX
from rules.traffic import PACK as TRAFFIC_PACK

FAILURE_RULE = "GATEWAY-PROXY"
DAMAGE_RULE = "GATEWAY-RULES"
FAILURE_PACK = "gateway"
MAX_DURATION_MS = 24 * 3600 * 1000
_TARGET_WORDS = {"tool_args": "tool arguments", "tool_result": "a tool result"}
_SENTENCE_ENDS = {
    "blocked": "The call was blocked.",
    "refused": "The call was refused for another reason.",
    "upstream_error": "The call failed at the upstream.",
    "failed": "The call failed in the gateway.",
    "client_closed": "The client hung up.",
}


def alerting_findings(findings: Sequence[Finding]) -> list[Finding]:
    """The strongest finding of each rule whose action is at least alert, in the order of their first hit. Two rules that say the
    same of the same words, because they are of one category, raise one alert; the call shows both."""
    strongest: dict[str, Finding] = {}
    for finding in findings:
        known = strongest.get(finding.rule_id)
        if finding.action >= Action.ALERT and (known is None or _strength(finding) > _strength(known)):
            strongest[finding.rule_id] = finding
    told: dict[tuple[object, ...], list[Finding]] = {}
    for finding in sorted(strongest.values(), key=_strength, reverse=True):
        alike = told.setdefault((finding.pack, finding.category, finding.target, finding.path), [])
        if any(finding.start < other.end and other.start < finding.end for other in alike):
            del strongest[finding.rule_id]
        else:
            alike.append(finding)
    return list(strongest.values())


def _strength(finding: Finding) -> tuple[Action, Severity, int]:
    return finding.action, finding.severity, finding.score


def effective_action(record: CallRecord, finding: Finding) -> Action:
    """What the finding led to. A blocking rule in a proxy that only logs, or without a second signal, is an alert."""
    if finding.action is Action.BLOCK and record.outcome != "blocked":
        return Action.ALERT
    return finding.action


def description(record: CallRecord, finding: Finding) -> str:
    """One plain sentence about what was found where, one about what became of the call."""
    operation = record.operation or record.path
    target = _TARGET_WORDS.get(finding.target.value, finding.target.value.replace("_", " "))
    ending = _SENTENCE_ENDS.get(record.outcome, "The call was let through.")
    if record.outcome == "allowed" and record.decision.would_action is Action.BLOCK:
        ending = "The call was let through, since this is set to log only; it would have been blocked."
    if finding.pack == TRAFFIC_PACK:  # No text of this call alone says it.
        return f"Rule {finding.rule_id} flagged the calls of this caller, at {operation}: {finding.evidence}. {ending}"[
            :1000
        ]
    return f"Rule {finding.rule_id} matched in {target} of {operation}. {ending}"[:1000]


def alert_rows(
    record: CallRecord,
    findings: Sequence[Finding],
    *,
    call: dict[str, Any],
    proxy_type: str,
    policy_names: Mapping[str, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """Rows of the alert table for one call and those of its findings that are news.

    `call` is the row of the log (its texts are already fit for the database); `policy_names` maps a pack to the policy
    that brought it to this proxy. An alert arises at the end of its call: a long stream must not slip in below others.
    """
    raised_at = min(now, call["started_at"] + timedelta(milliseconds=min(record.duration_ms, MAX_DURATION_MS)))
    shared = ("tenant_id", "proxy_id", "proxy_name", "client_ip", "client_agent", "principal_id", "principal_name")
    return [
        {
            **{key: call[key] for key in shared},
            "id": ids.new_id("alr"),
            "call_id": record.id,
            "severity": finding.severity.word,
            "status": AlertStatus.OPEN.value,
            "title": finding.title,
            "description": description(record, finding).replace("\x00", "\ufffd"),
            "rule_id": finding.rule_id,
            "pack": finding.pack,
            "policy_name": policy_names.get(finding.pack, finding.pack.removeprefix(OWN_PACK_PREFIX)),
            "category": finding.category,
            "action": effective_action(record, finding).word,
            "proxy_type": proxy_type,
            "evidence": finding.evidence[:400].replace("\x00", "\ufffd"),
            "target": finding.target.value,
            "path": finding.path[:500].replace("\x00", "\ufffd"),
            "created_at": raised_at,
            "updated_at": now,
            "resolved_by": None,
            "note": "",
        }
        for finding in alerting_findings(findings)
    ]


def failure_row(
    event_id: str, *, tenant_id: str, proxy: tuple[str, str, str], serves: bool, reason: str, now: datetime
) -> dict[str, Any]:
    """Row of the alert table for a proxy (id, name, type) that cannot serve as configured. No call belongs to it."""
    proxy_id, name, type_ = proxy
    title = "A proxy runs under an older configuration" if serves else "A proxy cannot serve"
    return {
        "tenant_id": tenant_id,
        "id": ids.new_id("alr"),
        "call_id": event_id,
        "severity": "high",
        "status": AlertStatus.OPEN.value,
        "title": title,
        "description": f"{title}: {reason}".replace("\x00", "\ufffd")[:1000],
        "rule_id": FAILURE_RULE,
        "pack": FAILURE_PACK,
        "policy_name": FAILURE_PACK,
        "category": "gateway/proxy-failed",
        "action": Action.ALERT.word,
        "proxy_id": proxy_id,
        "proxy_name": name,
        "proxy_type": type_,
        "evidence": reason.replace("\x00", "\ufffd")[:400],
        "target": "error",
        "path": "",
        "client_ip": "",
        "client_agent": "",
        "principal_id": "",
        "principal_name": "",
        "created_at": now,
        "updated_at": now,
        "resolved_by": None,
        "note": "",
    }


def damage_row(event_id: str, *, tenant_id: str, problem: str, now: datetime) -> dict[str, Any]:
    """Row of the alert table for a damaged file of rules. Neither a proxy nor a call belongs to it."""
    title = "Rules are damaged and not in force"
    row = failure_row(event_id, tenant_id=tenant_id, proxy=("", "", ""), serves=False, reason=problem, now=now)
    return row | {
        "severity": "critical",
        "title": title,
        "description": f"{title}: {problem}".replace("\x00", "\ufffd")[:1000],
        "rule_id": DAMAGE_RULE,
        "category": "gateway/rules-damaged",
    }
