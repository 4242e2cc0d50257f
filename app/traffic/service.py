"""Answers about traffic: the log and the statistics. Charts and rankings come from the roll-ups, never from the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app import clock
from app.alerts.repository import AlertRepository
from app.database.engine import Database
from app.fleet.errors import ProxyNotFound
from app.fleet.repository import ProxyRepository
from app.security.permissions import Actor
from app.traffic.errors import CallNotFound
from app.traffic.histogram import quantile
from app.traffic.models import ADDED_COLUMNS, VERDICTS
from app.traffic.repository import COUNT_LIMIT, CallFilter, TrafficRepository
from app.traffic.schemas import (
    CallList,
    CallView,
    ClientCalls,
    LogRow,
    PathCount,
    ProxyStats,
    RuleHits,
    TrafficPoint,
    TrafficTotals,
)
from app.traffic.views import log_row, view_of_call

TOP = 10
MAX_OFFSET = COUNT_LIMIT


class TrafficService:
    """What can be asked about traffic."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def page(self, actor: Actor, wanted: CallFilter, *, limit: int = 50, offset: int = 0) -> CallList:
        """A page of calls, newest first."""
        offset = min(offset, MAX_OFFSET)
        async with self._database.reader() as session:
            repository = TrafficRepository(session, actor.tenant_id)
            rows = await repository.page(wanted, limit=limit, offset=offset)
            total = await repository.count(wanted)
        return CallList(
            items=[view_of_call(row) for row in rows],
            total=min(total, COUNT_LIMIT),
            limit=limit,
            offset=offset,
            total_is_exact=total <= COUNT_LIMIT,
        )

    async def get(self, actor: Actor, call_id: str) -> CallView:
        """One call; raises CallNotFound."""
        async with self._database.reader() as session:
            call = await TrafficRepository(session, actor.tenant_id).get(call_id)
        if call is None:
            raise CallNotFound
        return view_of_call(call)

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
            return totals_of(await repository.totals(_minutes_ago(hours), proxy_id=proxy_id))

    async def points(self, actor: Actor, *, hours: int, proxy_id: str = "") -> tuple[list[TrafficPoint], int]:
        """Calls by verdict over the last hours, without gaps, and the step in seconds."""
        async with self._database.reader() as session:
            return await points_of(TrafficRepository(session, actor.tenant_id), hours=hours, proxy_id=proxy_id)

    async def stats(self, actor: Actor, proxy_id: str, *, hours: int) -> ProxyStats:
        """Statistics of one proxy; raises ProxyNotFound."""
        since_at = clock.utcnow() - timedelta(hours=hours)
        since_hour = _minutes_ago(hours) // 60
        async with self._database.reader() as session:
            if await ProxyRepository(session, actor.tenant_id).get(proxy_id) is None:
                raise ProxyNotFound
            repository = TrafficRepository(session, actor.tenant_id)
            totals = totals_of(await repository.totals(_minutes_ago(hours), proxy_id=proxy_id))
            points, step_seconds = await points_of(repository, hours=hours, proxy_id=proxy_id)
            rules = await repository.top_rules(since_hour, limit=TOP, proxy_id=proxy_id)
            clients = await repository.top_clients(since_hour, limit=TOP, proxy_id=proxy_id)
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
            step_seconds=step_seconds,
            points=points,
            top_rules=[RuleHits(**row) for row in rules],
            top_clients=[ClientCalls(**row) for row in clients],
        )

    async def counts(self, actor: Actor, *, hours: int = 24) -> dict[str, tuple[int, int]]:
        """Calls and failed calls of every proxy over the last hours, by proxy id."""
        async with self._database.reader() as session:
            rows = await TrafficRepository(session, actor.tenant_id).totals_by_proxy(_minutes_ago(hours))
        return {row["proxy_id"]: (sum(row[verdict] for verdict in VERDICTS), row["failed"]) for row in rows}


def step_minutes_of(hours: int) -> int:
    """Chart steps for a time range: at most about 200 of them."""
    for limit_hours, step in ((3, 1), (12, 5), (24, 10), (72, 30), (168, 60)):
        if hours <= limit_hours:
            return step
    return 360


async def points_of(repository: TrafficRepository, *, hours: int, proxy_id: str = "") -> tuple[list[TrafficPoint], int]:
    """The points of a chart, empty steps included, and the step in seconds."""
    step = step_minutes_of(hours)
    last = int(clock.utcnow().timestamp() // 60) // step
    first = last - hours * 60 // step + 1
    rows = {row["step"]: row for row in await repository.points(first * step, step_minutes=step, proxy_id=proxy_id)}
    empty = dict.fromkeys(VERDICTS, 0)
    points = [
        TrafficPoint(
            at=datetime.fromtimestamp(position * step * 60, UTC),
            **{verdict: rows.get(position, empty)[verdict] for verdict in VERDICTS},
        )
        for position in range(first, last + 1)
    ]
    return points, step * 60


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


def _minutes_ago(hours: int) -> int:
    return int((clock.utcnow() - timedelta(hours=hours)).timestamp() // 60)
