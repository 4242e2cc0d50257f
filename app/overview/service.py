"""Puts the overview together. Every figure comes from a roll-up or from memory, so the page costs the same at any load."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access.repository import ApiKeyRepository
from app.alerts.models import Alert
from app.alerts.repository import AlertRepository
from app.database.engine import Database
from app.fleet.control import FleetControl, Rollout
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.fleet.state import ProxyState, ProxyStatus
from app.fleet.views import listen_url
from app.overview.schemas import AttentionItem, GetStarted, LiveStats, OverviewView, ProxySummary
from app.security.permissions import Actor
from app.tools.held_repository import HeldCallRepository
from app.tools.repository import ToolRepository
from app.traffic.histogram import quantile
from app.traffic.models import ADDED_COLUMNS, VERDICTS
from app.traffic.rate import RateMeter
from app.traffic.repository import TrafficRepository
from app.traffic.schemas import ClientCalls, RuleHits
from app.traffic.service import points_of, sum_of, totals_of
from app.traffic.window import Window

HOURS = 24
TOP = 8
MAX_ATTENTION = 20
MAX_APPROVALS = 1_000


class OverviewService:
    """What the overview asks of the other features."""

    def __init__(
        self,
        *,
        database: Database,
        fleet: FleetControl,
        rollout: Rollout,
        rate: RateMeter,
        is_scheduler_late: Callable[[], bool],
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._rollout = rollout
        self._rate = rate
        self._is_scheduler_late = is_scheduler_late

    async def overview(self, actor: Actor) -> OverviewView:
        """The whole page."""
        now = clock.utcnow()
        window, since_midnight = Window.last(HOURS, now), Window.today(now)
        async with self._database.reader() as session:
            traffic = TrafficRepository(session, actor.tenant_id)
            alerts = AlertRepository(session, actor.tenant_id)
            proxies = await ProxyRepository(session, actor.tenant_id).all()
            by_proxy = {row["proxy_id"]: row for row in await traffic.totals_by_proxy(window)}
            today = totals_of(await traffic.totals(since_midnight))
            points = await points_of(traffic, window)
            rules = await traffic.top_rules(since_midnight, limit=TOP)
            clients = await traffic.top_clients(since_midnight, limit=TOP)
            worst = await alerts.worst_open(limit=MAX_ATTENTION)
            counts = await alerts.counts()
            approvals = await ToolRepository(session, actor.tenant_id).open_reviews(most=MAX_APPROVALS)
            approvals += await HeldCallRepository(session, actor.tenant_id).count_waiting(now)
            has_key = bool(await ApiKeyRepository(session, actor.tenant_id).usable(now))
        totals = totals_of(sum_of(list(by_proxy.values())))
        statuses = {proxy.id: self._fleet.status(proxy.id) for proxy in proxies}
        states = _by_state(statuses.values())
        open_alerts = {row["severity"]: row["count"] for row in counts if row["status"] == "open"}
        return OverviewView(
            proxies_by_state=states,
            proxies_total=len(proxies),
            requests_per_second=round(self._rate.per_second(), 2),
            calls_today=today.calls,
            blocked_today=today.blocked,
            alerts_open=sum(open_alerts.values()),
            alerts_needing_attention=open_alerts.get("critical", 0) + open_alerts.get("high", 0),
            added_p50_ms=totals.added_p50_ms,
            added_p99_ms=totals.added_p99_ms,
            attention=self._attention(proxies, statuses, worst, approvals),
            rules_today=[RuleHits(**row) for row in rules],
            top_clients=[ClientCalls(**row) for row in clients],
            totals=totals,
            step_seconds=window.step_minutes * 60,
            points=points,
            proxies=[_summary(proxy, statuses[proxy.id], by_proxy.get(proxy.id)) for proxy in proxies],
            get_started=GetStarted(
                has_proxy=bool(proxies),
                has_running_proxy=any(status.state.serves for status in statuses.values()),
                has_api_key=has_key,
                has_call=totals.calls > 0,
            ),
            at=now,
        )

    async def live(self, tenant_id: str) -> LiveStats:
        """Only the figures that move."""
        now = clock.utcnow()
        async with self._database.reader() as session:
            return await self._live(session, tenant_id, now)

    async def _live(self, session: AsyncSession, tenant_id: str, now: datetime) -> LiveStats:
        traffic = TrafficRepository(session, tenant_id)
        today = totals_of(await traffic.totals(Window.today(now)))
        recent = totals_of(await traffic.totals(Window.last(HOURS, now)))
        counts = await AlertRepository(session, tenant_id).counts()
        proxies = await ProxyRepository(session, tenant_id).all()
        return LiveStats(
            requests_per_second=round(self._rate.per_second(), 2),
            calls_today=today.calls,
            blocked_today=today.blocked,
            added_p99_ms=recent.added_p99_ms,
            alerts_needing_attention=sum(
                row["count"] for row in counts if row["status"] == "open" and row["severity"] in ("critical", "high")
            ),
            proxies_by_state=_by_state(self._fleet.status(proxy.id) for proxy in proxies),
        )

    def _attention(
        self, proxies: Sequence[Proxy], statuses: Mapping[str, ProxyStatus], alerts: Sequence[Alert], approvals: int
    ) -> list[AttentionItem]:
        items = []
        if self._rollout.is_pending:
            items.append(
                _system_item(
                    "rollout_pending", "A change has not reached the workers", "It is tried again every few seconds."
                )
            )
        if self._is_scheduler_late():
            items.append(
                _system_item("scheduler_late", "Background jobs are late", "Retention and statistics stand still.")
            )
        for proxy in proxies:
            status = statuses[proxy.id]
            if status.state in (ProxyState.FAILED, ProxyState.DEGRADED):
                items.append(_proxy_item(proxy, status))
        if approvals:
            items.append(_approvals_item(approvals))
        items += [_alert_item(alert) for alert in alerts]
        return items[:MAX_ATTENTION]


def _by_state(statuses: Any) -> dict[str, int]:
    counted = Counter(status.state.value for status in statuses)
    return {state.value: counted.get(state.value, 0) for state in ProxyState}


def _summary(proxy: Proxy, status: ProxyStatus, row: Mapping[str, Any] | None) -> ProxySummary:
    return ProxySummary(
        id=proxy.id,
        name=proxy.name,
        type=proxy.type,
        state=status.state.value,
        state_reason=status.reason,
        listen_url=listen_url(proxy),
        target_url=proxy.target_url or shlex.join(proxy.launch_command),
        enforcement=proxy.enforcement,
        calls=sum(row[verdict] for verdict in VERDICTS) if row else 0,
        blocked=row["blocked"] if row else 0,
        failed=row["failed"] if row else 0,
        added_p99_ms=quantile([row[name] for name in ADDED_COLUMNS], 0.99) if row else None,
    )


def _system_item(kind: Any, title: str, detail: str) -> AttentionItem:
    return AttentionItem(kind=kind, severity="high", title=title, detail=detail, id="", at=None)


def _approvals_item(count: int) -> AttentionItem:
    words = "A decision waits" if count == 1 else f"{count} decisions wait"
    return AttentionItem(
        kind="approvals",
        severity="medium",
        title=f"{words} in Approvals",
        detail="Tools of MCP servers, or calls of them, are held until somebody decides.",
        id="",
        at=None,
    )


def _proxy_item(proxy: Proxy, status: ProxyStatus) -> AttentionItem:
    failed = status.state is ProxyState.FAILED
    return AttentionItem(
        kind="proxy_failed" if failed else "proxy_degraded",
        severity="critical" if failed else "medium",
        title=f"{proxy.name} {'has failed' if failed else 'is degraded'}",
        detail=status.reason,
        id=proxy.id,
        at=status.since_at,
    )


def _alert_item(alert: Alert) -> AttentionItem:
    return AttentionItem(
        kind="alert",
        severity=alert.severity,
        title=alert.title,
        detail=f"{alert.rule_id} at {alert.proxy_name}",
        id=alert.id,
        at=alert.created_at,
    )
