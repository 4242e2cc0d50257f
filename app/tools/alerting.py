"""Alerts about what servers declare: no call belongs to them, so the change itself takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from app import ids
from app.alerts.workflow import AlertStatus
from app.fleet.models import Proxy
from app.tools.models import MCPChange
from rules.model import Action, Severity
from rules.pinning.classification import CLASSIFICATION
from rules.pinning.visible import visible

POLICY: Final = "mcp-tool-control"
CATEGORY: Final = "MCP tool changes"
RULE_PREFIX: Final = "MCP-TOOL-"
MAX_ALERTS: Final = 20
"""Alerts about one observation; what is beyond them is one alert."""
MAX_ALERTS_AN_HOUR: Final = 100
"""Alerts about one server; a server that changes at every look raises one more an hour, not one a change."""
MEANINGS: Final = {row.code: row.meaning for row in CLASSIFICATION} | {
    "unusual_name": "a tool name with other characters than the specification recommends"
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to alert about; `event_id` makes it happen once."""

    event_id: str
    code: str
    severity: str
    title: str
    description: str
    evidence: str = ""
    path: str = ""
    principal_id: str = ""
    principal_name: str = ""
    """Whose call it is, where it is about a call."""


def rule_id(code: str) -> str:
    """`MCP-TOOL-DESCRIPTION-CHANGED` and the like."""
    return RULE_PREFIX + code.upper().replace("_", "-")


def alert_row(notice: Notice, *, proxy: Proxy, now: datetime) -> dict[str, Any]:
    """The row of the alert table."""
    return {
        "tenant_id": proxy.tenant_id,
        "id": ids.new_id("alr"),
        "call_id": notice.event_id,
        "severity": notice.severity,
        "status": AlertStatus.OPEN.value,
        "title": _fit(notice.title, 300),
        "description": _fit(notice.description, 1000),
        "rule_id": rule_id(notice.code),
        "pack": POLICY,
        "policy_name": POLICY,
        "category": CATEGORY,
        "action": Action.ALERT.word,
        "proxy_id": proxy.id,
        "proxy_name": proxy.name,
        "proxy_type": proxy.type,
        "evidence": _fit(notice.evidence, 400),
        "target": "tool_description",
        "path": _fit(notice.path, 500),
        "client_ip": "",
        "client_agent": "",
        "principal_id": notice.principal_id,
        "principal_name": notice.principal_name,
        "created_at": now,
        "updated_at": now,
        "resolved_by": None,
        "note": "",
    }


def of_changes(changes: Sequence[MCPChange], *, proxy: Proxy) -> list[Notice]:
    """What to say about the changes of one observation; mild ones and the comings and goings of resources say nothing."""
    worth = [change for change in changes if _is_worth_an_alert(change)]
    worth.sort(key=lambda change: -Severity.parse(change.severity))
    notices = [_of_change(change) for change in worth[:MAX_ALERTS]]
    if rest := worth[MAX_ALERTS:]:
        notices.append(
            Notice(
                event_id=rest[0].id,
                code="many_changes",
                severity=rest[0].severity,
                title=f"{len(rest)} further changes at {proxy.name}",
                description=f"{proxy.name} changed {len(worth)} of its declarations at once. The queue has all of them.",
                evidence=", ".join(visible(change.name, 60) for change in rest[:10]),
            )
        )
    return notices


def of_review(event_id: str, *, proxy: Proxy, pending: int, with_findings: int) -> Notice:
    """A server was seen for the first time, and somebody has to look."""
    words = f"{pending} {'entry' if pending == 1 else 'entries'}"
    found = f" The rules find something in {with_findings} of them." if with_findings else ""
    return Notice(
        event_id=event_id,
        code="review_opened",
        severity="high" if with_findings else "medium",
        title=f"{words} of {proxy.name} {'waits' if pending == 1 else 'wait'} for approval",
        description=f"{proxy.name} declares {words} that nobody has approved. Until then none of them passes.{found}",
    )


def of_flood(*, proxy: Proxy, now: datetime) -> Notice:
    """A server changes so often that single alerts would bury all others."""
    return Notice(
        event_id=f"flood_{proxy.id}_{now:%Y%m%d%H}",
        code="flood",
        severity="high",
        title=f"{proxy.name} keeps changing what it declares",
        description=f"More than {MAX_ALERTS_AN_HOUR} alerts about {proxy.name} within an hour. Further changes are in "
        "the queue without an alert of their own; stop the proxy if nobody expects this.",
    )


def of_problems(event_id: str, problems: Sequence[str]) -> Notice:
    """Something was wrong with the lists themselves."""
    return Notice(
        event_id=event_id,
        code="list_problem",
        severity="medium",
        title="A server's lists are not sound",
        description=" ".join(problems)[:1000],
        evidence=problems[0],
    )


def _of_change(change: MCPChange) -> Notice:
    reason = change.reasons[0]
    thing = "server" if change.kind == "server" else f"{change.kind} {visible(change.name, 100)}"
    fate = (
        "It is held until somebody decides."
        if change.status == "open" and change.code != "tool_removed"
        else "It needs no decision."
        if change.status == "tolerated"
        else "Somebody should confirm it."
    )
    others = len(change.reasons) - 1
    more = f" {others} more {'reason' if others == 1 else 'reasons'}." if others else ""
    return Notice(
        event_id=change.id,
        code=change.code,
        severity=change.severity,
        title=f"{thing[:1].upper()}{thing[1:]}: {MEANINGS.get(change.code, change.code)}",
        description=f"The {thing} is not what was approved: {MEANINGS.get(change.code, change.code)}.{more} {fate}",
        evidence=reason["detail"] or visible(change.name, 200),
        path=reason["pointer"],
    )


def _is_worth_an_alert(change: MCPChange) -> bool:
    if change.status not in ("open", "tolerated"):
        return False
    least = Severity.HIGH if change.kind == "resource" else Severity.MEDIUM
    return Severity.parse(change.severity) >= least


def _fit(text: str, limit: int) -> str:
    return text.replace("\x00", "\ufffd")[:limit]
