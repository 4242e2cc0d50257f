"""Answers about traffic: the log and the statistics. Charts and rankings come from the roll-ups, never from the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app import clock
from app.alerts.repository import AlertRepository
from app.database.engine import Database
from app.fleet.errors import ProxyNotFound
from app.fleet.repository import ProxyRepository
from app.http.envelope import Listing
from app.http.sorting import Sort
from app.security.permissions import Actor, Role
from app.security.vault import Undecryptable, Vault
from app.traffic.captured import CapturedTexts, CaptureState, KeptTexts
from app.traffic.errors import CallNotFound
from app.traffic.histogram import quantile
from app.traffic.models import ADDED_COLUMNS, VERDICTS
from app.traffic.redaction_report import RedactionEntry, RedactionFilter, RedactionReport, RedactionReports
from app.traffic.redactions import Redactions
from app.traffic.repository import COUNT_LIMIT, CallFilter, TrafficRepository
from app.traffic.rollup import TRAFFIC_SUMS
from app.traffic.schemas import (
    CallDetail,
    CallList,
    ClientCalls,
    LogRow,
    PathCount,
    ProxyStats,
    RuleHits,
    TrafficPoint,
    TrafficTotals,
)
from app.traffic.views import detail_of, log_row, view_of_call
from app.traffic.window import Window

logger = logging.getLogger(__name__)

TEXTS_ROLE = Role.ADMIN
"""Who sees captured texts: they are masked, but they are still what somebody wrote. Findings are everybody's."""
TOP = 10
MAX_OFFSET = COUNT_LIMIT


class TrafficService:
    """What can be asked about traffic."""

    def __init__(self, *, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def page(
        self, actor: Actor, wanted: CallFilter, *, limit: int = 50, offset: int = 0, sort: Sort | None = None
    ) -> CallList:
        """A page of calls, newest first unless sorted otherwise."""
        offset = min(offset, MAX_OFFSET)
        async with self._database.reader() as session:
            repository = TrafficRepository(session, actor.tenant_id)
            reached = await repository.within_reach(wanted, sort)
            rows = await repository.page(reached, limit=limit, offset=offset, sort=sort)
            total = await repository.count(reached)
        return CallList(
            items=[view_of_call(row) for row in rows],
            total=min(total, COUNT_LIMIT),
            limit=limit,
            offset=offset,
            total_is_exact=total <= COUNT_LIMIT and reached.since_at == wanted.since_at,
        )

    async def get(self, actor: Actor, call_id: str) -> CallDetail:
        """One call with what was inspected in it, for those who may see texts; raises CallNotFound."""
        state: CaptureState = "none"
        kept: KeptTexts | None = None
        async with self._database.reader() as session:
            call = await TrafficRepository(session, actor.tenant_id).get(call_id)
            if call is None:
                raise CallNotFound
            redactions = await Redactions(session, actor.tenant_id).of_call(call_id)
            if not actor.role.covers(TEXTS_ROLE):
                state = "hidden"
            else:
                try:
                    kept = await CapturedTexts(session, self._vault, actor.tenant_id).texts(call_id)
                    state = "kept" if kept else "none"
                except Undecryptable as error:
                    logger.error("the texts of a call cannot be shown: %s", error)
                    state = "unreadable"
        return detail_of(call, state, kept, redactions)

    async def redactions(self, actor: Actor, wanted: RedactionFilter) -> RedactionReport:
        """What was masked, added up."""
        async with self._database.reader() as session:
            return await RedactionReports(session, actor.tenant_id).report(wanted)

    async def redaction_entries(
        self, actor: Actor, wanted: RedactionFilter, *, limit: int, offset: int = 0
    ) -> Listing[RedactionEntry]:
        """What was masked call by call, newest first."""
        async with self._database.reader() as session:
            return await RedactionReports(session, actor.tenant_id).entries(wanted, limit=limit, offset=offset)

    async def log(self, actor: Actor, proxy_id: str, *, limit: int = 100) -> list[LogRow]:
        """The latest calls of a proxy in the documented shape; raises ProxyNotFound."""
        async with self._database.reader() as session:
            if await ProxyRepository(session, actor.tenant_id).get(proxy_id) is None:
                raise ProxyNotFound
            rows = await TrafficRepository(session, actor.tenant_id).page(
                CallFilter(proxy_id=proxy_id), limit=limit, offset=0
            )
        return [log_row(row) for row in rows]

    async def totals(self, actor: Actor, *, hours: int, proxy_id: str = "") -> TrafficTotals:
        """Sums over the last hours, of one proxy or of all."""
        async with self._database.reader() as session:
            repository = TrafficRepository(session, actor.tenant_id)
            return totals_of(await repository.totals(Window.last(hours, clock.utcnow()), proxy_id=proxy_id))

    async def points(self, actor: Actor, *, hours: int, proxy_id: str = "") -> tuple[list[TrafficPoint], int]:
        """Calls by verdict over the last hours, without gaps, and the step in seconds."""
        async with self._database.reader() as session:
            window = Window.last(hours, clock.utcnow())
            points = await points_of(TrafficRepository(session, actor.tenant_id), window, proxy_id=proxy_id)
        return points, window.step_minutes * 60

    async def stats(self, actor: Actor, proxy_id: str, *, hours: int) -> ProxyStats:
        """Statistics of one proxy; raises ProxyNotFound."""
        window = Window.last(hours, clock.utcnow())
        since_at = datetime.fromtimestamp(window.first_minute * 60, UTC)
        async with self._database.reader() as session:
            if await ProxyRepository(session, actor.tenant_id).get(proxy_id) is None:
                raise ProxyNotFound
            repository = TrafficRepository(session, actor.tenant_id)
            totals = totals_of(await repository.totals(window, proxy_id=proxy_id))
            points = await points_of(repository, window, proxy_id=proxy_id)
            rules = await repository.top_rules(window, limit=TOP, proxy_id=proxy_id)
            clients = await repository.top_clients(window, limit=TOP, proxy_id=proxy_id)
            paths = await repository.top_paths(since_at, limit=TOP, proxy_id=proxy_id)
            alerts = await AlertRepository(session, actor.tenant_id).count_of_proxy(proxy_id, since_at)
        return ProxyStats(
            proxy_id=proxy_id,
            time_range_hours=hours,
            total_requests=totals.calls,
            successful_requests=totals.calls - totals.failed,
            failed_requests=totals.failed,
            avg_response_time_ms=totals.average_duration_ms,
            total_data_transferred=totals.request_bytes + totals.response_bytes,
            alerts_triggered=alerts,
            top_endpoints=[PathCount(**row) for row in paths],
            totals=totals,
            step_seconds=window.step_minutes * 60,
            points=points,
            top_rules=[RuleHits(**row) for row in rules],
            top_clients=[ClientCalls(**row) for row in clients],
        )

    async def counts(self, actor: Actor, *, hours: int = 24) -> dict[str, tuple[int, int]]:
        """Calls and failed calls of every proxy over the last hours, by proxy id."""
        async with self._database.reader() as session:
            rows = await TrafficRepository(session, actor.tenant_id).totals_by_proxy(Window.last(hours, clock.utcnow()))
        return {row["proxy_id"]: (sum(row[verdict] for verdict in VERDICTS), row["failed"]) for row in rows}


async def points_of(repository: TrafficRepository, window: Window, *, proxy_id: str = "") -> list[TrafficPoint]:
    """The points of a chart, empty steps included."""
    rows = {row["step"]: row for row in await repository.points(window, proxy_id=proxy_id)}
    empty = dict.fromkeys(VERDICTS, 0)
    return [
        TrafficPoint(
            at=datetime.fromtimestamp(step * window.step_minutes * 60, UTC),
            **{verdict: rows.get(step, empty)[verdict] for verdict in VERDICTS},
        )
        for step in window.steps
    ]


def sum_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of every counter over rows."""
    return {name: sum(row[name] for row in rows) for name in TRAFFIC_SUMS}


def totals_of(row: Mapping[str, Any]) -> TrafficTotals:
    """The totals in a row of summed roll-up columns."""
    calls = sum(row[verdict] for verdict in VERDICTS)
    added = [row[name] for name in ADDED_COLUMNS]
    return TrafficTotals(
        calls=calls,
        **{verdict: row[verdict] for verdict in VERDICTS},
        failed=row["failed"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        average_duration_ms=round(row["duration_ms"] / calls, 3) if calls else 0.0,
        added_p50_ms=_rounded(quantile(added, 0.5)),
        added_p99_ms=_rounded(quantile(added, 0.99)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
