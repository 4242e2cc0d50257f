"""Every decision about alerts: who changed which status to what, with an audit entry beside it."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.alerts.errors import AlertNotChangeable, AlertNotFound
from app.alerts.models import Alert
from app.alerts.repository import AlertFilter, AlertRepository
from app.alerts.schemas import AlertGroup, AlertSummary, AlertView, BulkChange, BulkResult
from app.alerts.workflow import AlertAction, AlertStatus, next_status
from app.audit.service import AuditLog
from app.database.engine import Database
from app.http.envelope import Listing
from app.http.events import EventBus
from app.http.sorting import Sort
from app.policies.feedback import MarkFalsePositive, follow_alert
from app.security.permissions import Actor
from rules.model import Severity

RESOURCE = "alert"
MAX_GROUPS = 200
MAX_URGENT = 1000
"""Where the count in the rail stops."""
EVENT_TYPES = {
    AlertAction.ACKNOWLEDGE: "alert.acknowledged",
    AlertAction.RESOLVE: "alert.resolved",
    AlertAction.FALSE_POSITIVE: "alert.false_positive",
    AlertAction.REOPEN: "alert.reopened",
}


class AlertService:
    """What can be done with alerts."""

    def __init__(self, *, database: Database, audit: AuditLog, bus: EventBus) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus

    async def page(
        self, actor: Actor, wanted: AlertFilter, *, limit: int = 50, offset: int = 0, sort: Sort | None = None
    ) -> Listing[AlertView]:
        """A page of alerts, newest first unless sorted otherwise."""
        async with self._database.reader() as session:
            repository = AlertRepository(session, actor.tenant_id)
            rows, total = await repository.page(wanted, limit=limit, offset=offset, sort=sort)
        return Listing(items=[alert_view(row) for row in rows], total=total, limit=limit, offset=offset)

    async def of_call(self, actor: Actor, call_id: str) -> list[AlertView]:
        """The alerts that a call raised."""
        async with self._database.reader() as session:
            rows = await AlertRepository(session, actor.tenant_id).of_calls([call_id])
        return [alert_view(row) for row in rows]

    async def groups(self, actor: Actor, wanted: AlertFilter, *, limit: int = 50) -> list[AlertGroup]:
        """The newest 5,000 matching alerts by rule and proxy, the largest groups first."""
        async with self._database.reader() as session:
            rows = await AlertRepository(session, actor.tenant_id).groups(wanted, limit=min(limit, MAX_GROUPS))
        return [AlertGroup(**row) for row in rows]

    async def get(self, actor: Actor, alert_id: str) -> AlertView:
        """One alert; raises AlertNotFound."""
        async with self._database.reader() as session:
            return alert_view(await _existing(AlertRepository(session, actor.tenant_id), alert_id))

    async def summary(self, actor: Actor) -> AlertSummary:
        """Counts for badges and filters."""
        async with self._database.reader() as session:
            rows = await AlertRepository(session, actor.tenant_id).counts()
        open_by_severity = {severity.word: 0 for severity in reversed(Severity)}
        by_status = {status.value: 0 for status in AlertStatus}
        for row in rows:
            by_status[row["status"]] += row["count"]
            if row["status"] == AlertStatus.OPEN:
                open_by_severity[row["severity"]] += row["count"]
        return AlertSummary(
            open_by_severity=open_by_severity,
            by_status=by_status,
            needs_attention=open_by_severity["critical"] + open_by_severity["high"],
        )

    async def urgent(self, actor: Actor) -> int:
        """How many open alerts are critical or high, at most `MAX_URGENT`."""
        async with self._database.reader() as session:
            return await AlertRepository(session, actor.tenant_id).count_urgent(most=MAX_URGENT)

    async def change(self, actor: Actor, alert_id: str, action: AlertAction, *, note: str = "") -> AlertView:
        """Move an alert to another status; raises AlertNotFound or AlertNotChangeable."""
        async with self._database.writer() as session:
            alert = await _existing(AlertRepository(session, actor.tenant_id), alert_id)
            before = alert.status
            if not _apply(alert, action, actor=actor, note=note):
                words = action.value.replace("_", " ")
                raise AlertNotChangeable(f"The alert is {alert.status.replace('_', ' ')}: {words} does not apply.")
            await _follow(session, actor, alert, before)
            await self._audit.record(
                session,
                EVENT_TYPES[action],
                actor=actor,
                resource=(RESOURCE, alert.id, alert.title),
                details={"rule_id": alert.rule_id},
            )
        view = alert_view(alert)
        self._bus.publish("alert", msgspec.to_builtins(view))
        return view

    async def change_many(self, actor: Actor, request: BulkChange) -> BulkResult:
        """Move many alerts; those from whose status the action leads nowhere are skipped and counted."""
        wanted = set(request.alert_ids)
        async with self._database.writer() as session:
            found = await AlertRepository(session, actor.tenant_id).get_many(wanted)
            before = {alert.id: alert.status for alert in found}
            changed = [alert for alert in found if _apply(alert, request.action, actor=actor, note=request.note)]
            for alert in changed:
                await _follow(session, actor, alert, before[alert.id])
            if changed:
                await self._audit.record(
                    session,
                    EVENT_TYPES[request.action],
                    actor=actor,
                    resource=(RESOURCE, "", f"{len(changed)} alerts"),
                    details={"alert_ids": [alert.id for alert in changed][:100], "count": len(changed)},
                )
        for alert in changed:
            self._bus.publish("alert", msgspec.to_builtins(alert_view(alert)))
        return BulkResult(changed=len(changed), skipped=len(found) - len(changed), missing=len(wanted) - len(found))


def _apply(alert: Alert, action: AlertAction, *, actor: Actor, note: str) -> bool:
    status = next_status(AlertStatus(alert.status), action)
    if status is None:
        return False
    alert.status = status.value
    alert.updated_at = clock.utcnow()
    is_closed = status in (AlertStatus.RESOLVED, AlertStatus.FALSE_POSITIVE)
    alert.resolved_by = actor.username if is_closed else None
    if note:
        alert.note = note
    return True


async def _follow(session: AsyncSession, actor: Actor, alert: Alert, before: str) -> None:
    """An alert that is called a false positive is feedback about its rule; reopening it takes that back.

    A mark that somebody set on its call stays.
    """
    if AlertStatus.FALSE_POSITIVE not in (alert.status, before):
        return
    hit = MarkFalsePositive(
        rule_id=alert.rule_id,
        pack=alert.pack,
        policy_name=alert.policy_name,
        call_id=alert.call_id,
        evidence=alert.evidence,
        note=alert.note[:1_000],
    )
    await follow_alert(session, actor, alert.id, hit, is_false=alert.status == AlertStatus.FALSE_POSITIVE)


def alert_view(alert: Alert) -> AlertView:
    """An alert as the API shows it."""
    return AlertView(**{name: getattr(alert, name) for name in AlertView.__struct_fields__})


async def _existing(repository: AlertRepository, alert_id: str) -> Alert:
    alert = await repository.get(alert_id)
    if alert is None:
        raise AlertNotFound
    return alert
