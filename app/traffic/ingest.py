"""Takes the batches of the workers: calls, roll-ups, alerts and last uses of keys in one transaction, then the bus.

Safe to repeat: a call is counted, and its alerts are raised, only when its row is new.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access.repository import ApiKeyRepository
from app.alerts.declarations import AlertedDeclarations, News
from app.alerts.recording import alert_rows
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.assignments import policies_of
from app.fleet.repository import ProxyRepository
from app.http.events import EventBus
from app.policies.global_policies import GlobalPolicyRepository
from app.policies.library import PolicyLibrary
from app.policies.tag_policies import TagPolicyRepository
from app.security.vault import Vault
from app.tools.usage import ToolUsage
from app.traffic.analysis import TrafficAnalysis
from app.traffic.captured import CapturedTexts, sealed_rows
from app.traffic.failures import FailureAudit, with_failures
from app.traffic.metrics import TrafficMetrics
from app.traffic.rate import RateMeter
from app.traffic.redactions import Redactions, redaction_rows
from app.traffic.repository import TrafficRepository
from app.traffic.rollup import increments
from app.traffic.views import call_row, view_of_row
from proxies.contract import CallRecord

TRANSACTION_CALLS = 1_000
"""A batch is written in portions of this size, so that no writer waits long behind it."""
PUBLISHED_CALLS_PER_PORTION = 25
"""Calls without findings on the bus per portion: a live list that nobody can read needs no more."""
OLDEST_AT = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
CLOCK_SKEW_SECONDS = 3600


class ProxyFacts(msgspec.Struct, frozen=True):
    """What a record does not say about its proxy. A proxy that was deleted meanwhile has no name any more."""

    name: str = ""
    type: str = ""
    policy_by_pack: dict[str, str] = {}


class Ingest:
    """The function that the fleet hands batches to; it returns when they are committed and raises when they are not."""

    def __init__(
        self,
        *,
        database: Database,
        library: PolicyLibrary,
        audit: AuditLog,
        vault: Vault,
        bus: EventBus,
        rate: RateMeter,
        metrics: TrafficMetrics,
    ) -> None:
        self._database = database
        self._library = library
        self._vault = vault
        self._bus = bus
        self._rate = rate
        self._metrics = metrics
        self._analysis = TrafficAnalysis()
        self._failures = FailureAudit(audit)

    async def __call__(self, records: Sequence[CallRecord]) -> None:
        """Commit these calls; those that are known already change nothing."""
        for start in range(0, len(records), TRANSACTION_CALLS):
            await self._commit(records[start : start + TRANSACTION_CALLS])

    async def _commit(self, records: Sequence[CallRecord]) -> None:
        now = clock.utcnow()
        unique = {record.id: _within_time(record, now) for record in records}
        alerts: list[dict[str, Any]] = []
        # Compression and encryption of a thousand calls take their time, and neither needs the transaction.
        sealed = await asyncio.to_thread(sealed_rows, list(unique.values()), self._vault, tenant_id=DEFAULT_TENANT)
        async with self._database.writer() as session:
            traffic = TrafficRepository(session)
            known = await traffic.known_ids(unique)
            new = with_failures(record for call_id, record in unique.items() if call_id not in known)
            fresh = self._analysis.add_findings(new)
            if not fresh:
                return
            facts = await self._facts(session)
            declarations = AlertedDeclarations(session)
            news = News(await declarations.known(fresh))
            rows = []
            redactions: list[dict[str, Any]] = []
            for record in fresh:
                proxy = facts.get(record.proxy_id, ProxyFacts())
                row = call_row(record, tenant_id=DEFAULT_TENANT, proxy_name=proxy.name)
                rows.append(row)
                redactions += redaction_rows(record, tenant_id=DEFAULT_TENANT, proxy_name=proxy.name)
                if record.findings:
                    policy_names = self._policy_names(record, proxy)
                    alerts += alert_rows(
                        record, news.of(record), call=row, proxy_type=proxy.type, policy_names=policy_names, now=now
                    )
            await traffic.add_calls(rows)
            await CapturedTexts(session, self._vault).add([row for row in sealed if row["call_id"] not in known])
            await Redactions(session).add(redactions)
            await traffic.add_increments(increments(fresh, tenant_id=DEFAULT_TENANT))
            await ToolUsage(session).add(fresh)
            await AlertRepository(session).add_new(alerts)
            declarations.add(news.said, now)
            await self._failures.record(session, fresh, {proxy_id: proxy.name for proxy_id, proxy in facts.items()})
            await ApiKeyRepository(session).mark_used(_latest_uses(fresh))
            raised = await AlertRepository(session).of_calls({row["call_id"] for row in alerts}) if alerts else []
            alert_events = [msgspec.to_builtins(alert_view(alert)) for alert in raised]
        self._analysis.committed()
        self._rate.add(len(fresh))
        self._metrics.count(fresh, {proxy_id: proxy.name for proxy_id, proxy in facts.items()})
        self._publish(rows, alert_events)

    async def _facts(self, session: AsyncSession) -> dict[str, ProxyFacts]:
        all_proxies = await GlobalPolicyRepository(session).names()
        by_tag = await TagPolicyRepository(session).by_tag()
        found = {}
        for proxy in await ProxyRepository(session).all():
            names = policies_of(self._library, proxy.policy_names, proxy.tags, proxy.type, by_tag)
            found[proxy.id] = ProxyFacts(proxy.name, proxy.type, self._library.policy_by_pack(names or all_proxies))
        return found

    def _policy_names(self, record: CallRecord, proxy: ProxyFacts) -> Mapping[str, str]:
        """By pack the policy that brought it: the one that decided, which a key may have named, before the proxy's."""
        deciding = record.decision.policy
        return (
            {**proxy.policy_by_pack, **self._library.policy_by_pack([deciding])} if deciding else proxy.policy_by_pack
        )

    def _publish(self, rows: Sequence[Mapping[str, Any]], alert_events: Sequence[dict[str, Any]]) -> None:
        ordinary = 0
        for row in rows:
            if not row["findings"]:
                ordinary += 1
                if ordinary > PUBLISHED_CALLS_PER_PORTION:
                    continue
            self._bus.publish("call", msgspec.to_builtins(view_of_row(dict(row))))
        for event in alert_events:
            self._bus.publish("alert", event)


def _within_time(record: CallRecord, now: datetime) -> CallRecord:
    """A start outside any sensible time would land in no chart and outlive retention; it becomes now."""
    started = record.started_at
    if math.isfinite(started) and OLDEST_AT <= started <= now.timestamp() + CLOCK_SKEW_SECONDS:
        return record
    return msgspec.structs.replace(record, started_at=now.timestamp())


def _latest_uses(records: Sequence[CallRecord]) -> list[tuple[str, datetime]]:
    latest: dict[str, float] = {}
    for record in records:
        if record.principal_id:
            latest[record.principal_id] = max(latest.get(record.principal_id, 0.0), record.started_at)
    return [(key_id, datetime.fromtimestamp(at, UTC)) for key_id, at in sorted(latest.items())]
