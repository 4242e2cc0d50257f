"""Keeps and reads how tools are used, and looks for deviations from time to time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.repository import ProxyRepository
from app.http.events import EventBus
from app.security.permissions import Actor
from app.tools.alerting import Notice, alert_row
from app.tools.behaviour import RECENT_HOURS, USUAL_HOURS, Deviation, Row, Sums, deviations, increments
from app.tools.models import tool_hours, tool_keys
from app.tools.repository import EntryFilter, ToolRepository
from app.tools.schemas import ProxyToolStats, ToolStats
from app.tools.service import mcp_proxy
from app.tools.states import State
from proxies.contract import CallRecord
from rules.pinning.visible import visible

HOURS_KEPT = 35 * 24
MAX_KEYS_OF_TOOL = 200
MAX_KEYS_KEPT = 500
"""Argument names kept of one tool: whoever calls it can invent any number of them."""
MAX_TOOLS = 2_000
EVERY_SECONDS = 300.0
_SUMS = ("calls", "errors", "blocked", "duration_ms", "result_bytes", "log_ms")
_HOUR = 3600


class ToolUsage:
    """Use of tools in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(self, records: Sequence[CallRecord]) -> None:
        """Count the tool calls among these records."""
        hours, keys = increments(records, tenant_id=self._tenant_id)
        if hours:
            statement = self._insert(tool_hours)
            added = {name: tool_hours.c[name] + statement.excluded[name] for name in _SUMS}
            index = ["tenant_id", "proxy_id", "hour", "tool"]
            await self._session.execute(statement.on_conflict_do_update(index_elements=index, set_=added), hours)
        if keys := await self._within_bounds(keys):
            rows = [{**row, "first_seen_at": datetime.fromtimestamp(row["first_seen_at"], UTC)} for row in keys]
            statement = self._insert(tool_keys)
            added = {"calls": tool_keys.c.calls + statement.excluded.calls}
            index = ["tenant_id", "proxy_id", "tool", "key"]
            await self._session.execute(statement.on_conflict_do_update(index_elements=index, set_=added), rows)

    async def _within_bounds(self, keys: list[Row]) -> list[Row]:
        """The argument names that may be counted: for a tool that has enough of them, only known ones."""
        places = {(row["proxy_id"], row["tool"]) for row in keys}
        of_batch = (
            tool_keys.c.tenant_id == self._tenant_id,
            tool_keys.c.proxy_id.in_({proxy_id for proxy_id, _ in places}),
            tool_keys.c.tool.in_({tool for _, tool in places}),
        )
        counted = select(tool_keys.c.proxy_id, tool_keys.c.tool, func.count()).where(*of_batch)
        counts: dict[tuple[str, str], int] = {
            (proxy_id, tool): count
            for proxy_id, tool, count in await self._session.execute(
                counted.group_by(tool_keys.c.proxy_id, tool_keys.c.tool)
            )
        }
        found = []
        for place in places:
            fresh = [row for row in keys if (row["proxy_id"], row["tool"]) == place]
            if counts.get(place, 0) + len(fresh) <= MAX_KEYS_KEPT:
                found += fresh
                continue
            known = set(
                await self._session.scalars(
                    select(tool_keys.c.key).where(
                        *of_batch[:1], tool_keys.c.proxy_id == place[0], tool_keys.c.tool == place[1]
                    )
                )
            )
            new = [row for row in fresh if row["key"] not in known][: max(MAX_KEYS_KEPT - len(known), 0)]
            found += [*(row for row in fresh if row["key"] in known), *new]
        return found

    async def sums(self, first_hour: int, last_hour: int, proxy_id: str = "") -> dict[tuple[str, str], Row]:
        """The sums of these hours by proxy and tool, with the last hour of use."""
        columns = [func.sum(tool_hours.c[name]).label(name) for name in _SUMS]
        columns.append(func.sum(case((tool_hours.c.log_ms.is_not(None), tool_hours.c.calls))).label("timed_calls"))
        statement = (
            select(tool_hours.c.proxy_id, tool_hours.c.tool, func.max(tool_hours.c.hour).label("last_hour"), *columns)
            .where(
                tool_hours.c.tenant_id == self._tenant_id,
                tool_hours.c.hour >= first_hour,
                tool_hours.c.hour <= last_hour,
            )
            .group_by(tool_hours.c.proxy_id, tool_hours.c.tool)
            .limit(MAX_TOOLS)
        )
        if proxy_id:
            statement = statement.where(tool_hours.c.proxy_id == proxy_id)
        return {
            (row["proxy_id"], row["tool"]): dict(row) for row in (await self._session.execute(statement)).mappings()
        }

    async def keys(self, proxy_id: str) -> dict[str, list[str]]:
        """The argument keys of each tool of a proxy, the usual ones first."""
        statement = (
            select(tool_keys.c.tool, tool_keys.c.key)
            .where(tool_keys.c.tenant_id == self._tenant_id, tool_keys.c.proxy_id == proxy_id)
            .order_by(tool_keys.c.calls.desc(), tool_keys.c.key)
            .limit(MAX_TOOLS)
        )
        found: dict[str, list[str]] = {}
        for tool, key in await self._session.execute(statement):
            found.setdefault(tool, []).append(key)
        return found

    async def keys_since(self, since_at: datetime) -> dict[tuple[str, str], list[str]]:
        """The argument keys that were first seen since then, by proxy and tool."""
        statement = (
            select(tool_keys.c.proxy_id, tool_keys.c.tool, tool_keys.c.key)
            .where(tool_keys.c.tenant_id == self._tenant_id, tool_keys.c.first_seen_at >= since_at)
            .order_by(tool_keys.c.first_seen_at)
            .limit(MAX_TOOLS)
        )
        found: dict[tuple[str, str], list[str]] = {}
        for proxy_id, tool, key in await self._session.execute(statement):
            found.setdefault((proxy_id, tool), []).append(key)
        return found

    async def prune(self, now: datetime) -> None:
        """Forget hours that nobody asks for any more, and keys of tools that are not used."""
        oldest = int(now.timestamp() // _HOUR) - HOURS_KEPT
        await self._session.execute(delete(tool_hours).where(tool_hours.c.hour < oldest))
        used = select(tool_hours.c.tool).where(
            tool_hours.c.tenant_id == tool_keys.c.tenant_id, tool_hours.c.proxy_id == tool_keys.c.proxy_id
        )
        await self._session.execute(delete(tool_keys).where(tool_keys.c.tool.not_in(used)))

    def _insert(self, table: Any) -> Any:
        dialect = self._session.get_bind().dialect.name
        return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


class UsageService:
    """Statistics for the API, and the job that looks for deviations."""

    def __init__(self, *, database: Database, bus: EventBus) -> None:
        self._database = database
        self._bus = bus

    async def stats(self, actor: Actor, proxy_id: str, *, hours: int) -> ProxyToolStats:
        """How the tools of a proxy were used; raises ProxyNotFound or NotMCP."""
        last = int(clock.utcnow().timestamp() // _HOUR)
        async with self._database.reader() as session:
            await mcp_proxy(session, actor, proxy_id)
            usage = ToolUsage(session, actor.tenant_id)
            sums = await usage.sums(last - hours + 1, last, proxy_id)
            keys = await usage.keys(proxy_id)
            rows, total = await ToolRepository(session, actor.tenant_id).page(
                EntryFilter(proxy_id=proxy_id, kinds=("tool",)), limit=5_000, offset=0
            )
        states = [row.state for row in rows]
        tools = [_stats(tool, row, keys.get(tool, [])) for (_, tool), row in sums.items()]
        return ProxyToolStats(
            proxy_id=proxy_id,
            time_range_hours=hours,
            total=total,
            enabled=states.count(State.APPROVED),
            disabled=states.count(State.DISABLED),
            pending=states.count(State.PENDING),
            changed=states.count(State.CHANGED),
            tools=sorted(tools, key=lambda one: (-one.calls, one.tool)),
        )

    async def look(self) -> None:
        """The job: alert about tools that are used unlike before, each kind of deviation once a day."""
        now = clock.utcnow()
        last = int(now.timestamp() // _HOUR)
        first_recent = last - RECENT_HOURS + 1
        async with self._database.reader() as session:
            usage = ToolUsage(session)
            recent = await usage.sums(first_recent, last)
            usual = await usage.sums(first_recent - USUAL_HOURS, first_recent - 1)
            new_keys = await usage.keys_since(now - timedelta(hours=RECENT_HOURS))
            proxies = {proxy.id: proxy for proxy in await ProxyRepository(session, DEFAULT_TENANT).all()}
        alerts = []
        for (proxy_id, tool), row in recent.items():
            proxy = proxies.get(proxy_id)
            before = usual.get((proxy_id, tool))
            if proxy is None or before is None:
                continue
            for deviation in deviations(_sums(before), _sums(row), new_keys.get((proxy_id, tool), [])[:5]):
                notice = _notice(proxy_id, tool, deviation, now)
                alerts.append(alert_row(notice, proxy=proxy, now=now))
        if not alerts:
            return
        async with self._database.writer() as session:
            repository = AlertRepository(session)
            ids = {row["call_id"] for row in alerts}
            known = {row.call_id for row in await repository.of_calls(ids)}
            await repository.add_new(alerts)
            raised = [row for row in await repository.of_calls(ids) if row.call_id not in known]
            views = [msgspec.to_builtins(alert_view(row)) for row in raised]
        for view in views:
            self._bus.publish("alert", view)


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(
        calls=row["calls"],
        errors=row["errors"],
        duration_ms=row["duration_ms"],
        result_bytes=row["result_bytes"],
        log_ms=row["log_ms"] or 0.0,
        timed_calls=row["timed_calls"] or 0,
    )


def _stats(tool: str, row: Mapping[str, Any], keys: list[str]) -> ToolStats:
    sums = _sums(row)
    return ToolStats(
        tool=tool,
        calls=sums.calls,
        errors=sums.errors,
        blocked=row["blocked"],
        error_rate=round(sums.error_rate, 4),
        avg_duration_ms=round(sums.mean_ms, 3) if sums.calls else None,
        avg_result_bytes=round(sums.mean_bytes, 1) if sums.calls else None,
        argument_keys=keys[:MAX_KEYS_OF_TOOL],
        last_used_at=datetime.fromtimestamp(row["last_hour"] * _HOUR, UTC),
    )


def _notice(proxy_id: str, tool: str, deviation: Deviation, now: datetime) -> Notice:
    """One alert a day for each tool, kind of deviation and evidence that names an argument."""
    what = deviation.evidence if deviation.code == "new_argument" else ""
    parts = "\n".join((proxy_id, tool, deviation.code, what, f"{now:%Y-%m-%d}"))
    shown = visible(tool, 100)
    return Notice(
        event_id="use_" + hashlib.sha256(parts.encode()).hexdigest()[:40],
        code=f"use_{deviation.code}",
        severity=deviation.severity,
        title=f"The tool {shown} is used unlike before",
        description=f"The tool {shown} behaves unlike in the week before. {deviation.sentence}",
        evidence=visible(deviation.evidence, 200),
    )
