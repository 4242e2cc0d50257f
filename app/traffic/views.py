"""From a worker's record to a row of the log, and from a row to what the API shows. One shape of a finding for both."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.traffic.captured import CaptureState, KeptTexts
from app.traffic.models import Call
from app.traffic.redactions import RedactionView
from app.traffic.schemas import CallDetail, CallView, DecisionView, FindingView, LogRow, MarkView, TextView, UsageView
from app.traffic.verdict import verdict_of
from proxies.contract import CallRecord
from rules.model import NO_DECISION, Finding, Severity
from rules.verdicts import total_score

MAX_STORED_FINDINGS = 100


def stored_text(text: str, limit: int) -> str:
    """Clipped to the column, and without NUL, which PostgreSQL cannot store."""
    return text[:limit].replace("\x00", "\ufffd")


def finding_view(finding: Finding) -> FindingView:
    """A finding with words in place of numbers."""
    return FindingView(
        rule_id=finding.rule_id,
        pack=finding.pack,
        title=finding.title,
        category=finding.category,
        severity=finding.severity.word,
        confidence=finding.confidence.name.lower(),
        score=finding.score,
        action=finding.action.word,
        target=finding.target.value,
        path=stored_text(finding.path, 500),
        start=finding.start,
        end=finding.end,
        view=finding.view,
        evidence=stored_text(finding.evidence, 400),
    )


def decision_row(record: CallRecord) -> dict[str, Any] | None:
    """Why the verdict is what it is, in words; None where nothing was decided."""
    decision = record.decision
    if decision == NO_DECISION:
        return None
    return {
        "source": decision.source,
        "rule_id": stored_text(decision.rule_id, 64),
        "policy": decision.policy,
        "policy_version": decision.policy_version,
        "level": decision.level,
        "would_action": decision.would_action.word,
        "score": total_score(record.findings),
        "threshold": decision.threshold,
        "risk": decision.risk,
        "tags": list(decision.tags),
    }


def call_row(record: CallRecord, *, tenant_id: str, proxy_name: str) -> dict[str, Any]:
    """The row of the request log for one record."""
    return {
        "id": record.id,
        "tenant_id": tenant_id,
        "proxy_id": record.proxy_id,
        "proxy_name": proxy_name,
        "started_at": datetime.fromtimestamp(record.started_at, UTC),
        "duration_ms": record.duration_ms,
        "added_ms": record.added_ms,
        "method": stored_text(record.method, 20),
        "path": stored_text(record.path, 2000),
        "protocol": stored_text(record.protocol, 40),
        "operation": stored_text(record.operation, 500),
        "client_ip": stored_text(record.client_ip, 64),
        "client_agent": stored_text(record.client_agent, 200),
        "principal_id": record.principal_id,
        "principal_name": record.principal_name,
        "status": record.status,
        "outcome": record.outcome,
        "action": record.action.word,
        "verdict": verdict_of(record),
        "error_code": stored_text(record.error_code, 64),
        "reason": stored_text(record.reason, 1000),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
        "streamed": record.streamed,
        "truncated": record.truncated,
        "snapshot_version": record.snapshot_version,
        "usage": msgspec.to_builtins(record.usage),
        "timings_ms": dict(record.timings_ms),
        "decision": decision_row(record),
        "findings": [msgspec.to_builtins(finding_view(item)) for item in record.findings[:MAX_STORED_FINDINGS]],
    }


def view_of_row(row: dict[str, Any]) -> CallView:
    """The API's view of a row that `call_row` made."""
    return msgspec.convert({key: value for key, value in row.items() if key != "tenant_id"}, CallView)


def view_of_call(call: Call) -> CallView:
    """The API's view of a stored call."""
    values = {name: getattr(call, name) for name in CallView.__struct_fields__}
    values["usage"] = msgspec.convert(call.usage, UsageView | None)
    values["findings"] = msgspec.convert(call.findings, list[FindingView])
    values["decision"] = msgspec.convert(call.decision, DecisionView | None)
    return CallView(**values)


def detail_of(
    call: Call, state: CaptureState, kept: KeptTexts | None, redactions: Sequence[RedactionView]
) -> CallDetail:
    """A stored call with its captured texts and what was masked in it."""
    view = view_of_call(call)
    return CallDetail(
        **{name: getattr(view, name) for name in CallView.__struct_fields__},
        texts_state=state,
        texts_omitted=kept.omitted if kept else 0,
        redactions=list(redactions),
        texts=[
            TextView(
                direction=text.direction,
                target=text.target.value,
                path=text.path,
                text=text.text,
                offset=text.offset,
                truncated=text.truncated,
                marks=[MarkView(start=mark.start, end=mark.end, rule_id=mark.rule_id) for mark in text.marks],
            )
            for text in (kept.texts if kept else ())
        ],
    )


def log_row(call: Call) -> LogRow:
    """A stored call in the documented shape of a proxy's log."""
    severities = [Severity.parse(finding["severity"]) for finding in call.findings]
    return LogRow(
        id=call.id,
        proxy_config_id=call.proxy_id,
        timestamp=call.started_at,
        method=call.method,
        path=call.path,
        status_code=call.status,
        duration_ms=call.duration_ms,
        request_size=call.request_bytes,
        response_size=call.response_bytes,
        client_ip=call.client_ip,
        risk_level=(call.decision or {}).get("risk") or (max(severities).word if severities else "none"),
    )
