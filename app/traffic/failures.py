"""Calls that the gateway could not inspect or mask, or failed on otherwise: an alert for each, and an audit entry for each
proxy and minute.

They were refused, and nothing of them passed. Somebody has to know all the same: an engine that fails on one message
fails on the next one like it, and whoever sends such messages may be looking for just that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.service import AuditLog
from proxies.contract import CallRecord
from rules.model import Action, Confidence, Finding, Severity, Target

RULE_ID = "GATEWAY-INSPECTION"
PACK = "gateway"
TITLES = {
    "inspection_failed": "A message could not be inspected",
    "masking_failed": "A message could not be masked",
    "gateway_error": "The gateway failed on a call",
}
"""By error code."""
AUDIT_SECONDS = 60.0


def is_failure(record: CallRecord) -> bool:
    """Whether the gateway refused a call because it could not do its work."""
    return record.outcome == "failed" and record.error_code in TITLES


def with_failures(records: Iterable[CallRecord]) -> list[CallRecord]:
    """The calls in their order; one that the gateway failed on carries a finding that says so, and so raises an alert."""
    return [_noted(record) if is_failure(record) else record for record in records]


def _noted(record: CallRecord) -> CallRecord:
    finding = Finding(
        rule_id=RULE_ID,
        pack=PACK,
        title=TITLES[record.error_code],
        category="gateway/inspection-failed",
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=0,
        action=Action.ALERT,
        target=Target.ERROR,
        path="",
        start=0,
        end=0,
        view="raw",
        evidence="",
    )
    return msgspec.structs.replace(
        record, findings=(*record.findings, finding), action=max(record.action, Action.ALERT)
    )


class FailureAudit:
    """Writes `inspection.failed` into the audit log, at most once a minute for each proxy."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._written_at: dict[str, float] = {}

    async def record(
        self, session: AsyncSession, records: Sequence[CallRecord], proxy_names: Mapping[str, str]
    ) -> None:
        """Note the failures among these calls in the caller's transaction; `proxy_names` by id."""
        failed = [record for record in records if is_failure(record)]
        for proxy_id, calls in Counter(record.proxy_id for record in failed).items():
            first = next(record for record in failed if record.proxy_id == proxy_id)
            if proxy_id not in proxy_names or first.started_at < self._written_at.get(proxy_id, 0.0) + AUDIT_SECONDS:
                continue
            self._written_at[proxy_id] = first.started_at
            await self._audit.record(
                session,
                "inspection.failed",
                actor=None,
                resource=("proxy", proxy_id, proxy_names[proxy_id]),
                result="failure",
                severity="critical",
                details={"calls": calls, "first_call": first.id},
            )
