"""Alerts about what a scan found: one for each rule, with the worst of its findings as evidence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from app import ids
from app.alerts.workflow import AlertStatus
from app.scanner.models import Scan
from app.scanner.result import FindingView
from rules.model import Action, Severity

PACK = "mcp-scanner"
ALERTS_FROM = Severity.HIGH


def alert_rows(
    scan: Scan, findings: Iterable[FindingView], blocked: frozenset[str], now: datetime
) -> list[dict[str, Any]]:
    """Rows of the alert table for findings that are new; no call belongs to them."""
    rows: dict[str, dict[str, Any]] = {}
    for finding in sorted(findings, key=lambda one: -one.score):
        if Severity.parse(finding.severity) < ALERTS_FROM or finding.rule_id in rows:
            continue
        is_blocked = finding.kind == "tool" and finding.subject in blocked
        ending = " Calls of this tool are refused until the gate is lifted or a scan is better." if is_blocked else ""
        rows[finding.rule_id] = {
            "tenant_id": scan.tenant_id,
            "id": ids.new_id("alr"),
            "call_id": scan.id,
            "severity": finding.severity,
            "status": AlertStatus.OPEN.value,
            "title": _clean(f"Scan: {finding.title}", 300),
            "description": _clean(f"{finding.description} {finding.remediation}{ending}", 1_000),
            "rule_id": finding.rule_id[:64],
            "pack": PACK,
            "policy_name": PACK,
            "category": f"{PACK}/{finding.category.replace(' ', '-')}",
            "action": (Action.BLOCK if is_blocked else Action.ALERT).word,
            "proxy_id": scan.proxy_id,
            "proxy_name": scan.name[:100],
            "proxy_type": "mcp",
            "evidence": _clean(finding.evidence, 400),
            "target": "tool_description",
            "path": _clean(finding.location, 500),
            "client_ip": "",
            "client_agent": "",
            "principal_id": "",
            "principal_name": "",
            "created_at": now,
            "updated_at": now,
            "resolved_by": None,
            "note": "",
        }
    return list(rows.values())


def _clean(text: str, max_chars: int) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:max_chars]
