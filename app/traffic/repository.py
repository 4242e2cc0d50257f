"""Every query on calls and their roll-ups, narrowed by tenant.

The upserts use `INSERT … ON CONFLICT`, which SQLite and PostgreSQL share; the two dialects only differ in where
SQLAlchemy keeps the statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Table, delete, func, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.http.sorting import Sort, Sorts
from app.traffic.models import (
    VERDICTS,
    Call,
    CallRedaction,
    CallText,
    client_hours,
    rule_hours,
    traffic_hours,
    traffic_minutes,
)
from app.traffic.rollup import CLIENT_SUMS, RULE_SUMS, TRAFFIC_SUMS, Increments, Row
from app.traffic.window import MINUTES_PER_HOUR, Window

COUNT_LIMIT = 10_000
"""Counting a filtered log stops here: nobody reads page 200, and a million rows must not be counted for it."""
SEARCHED_CALLS = 100_000
"""Filters without an index look at the newest calls only, so that no question reads a million rows."""
SORTED_CALLS = 20_000
"""Any order but that of time is made of the newest calls only, for the same reason."""
PATHS_FROM_LATEST_CALLS = 5_000
SORTS = Sorts(
    {
        "started_at": Call.started_at,
        "verdict": Call.verdict,
        "proxy_name": Call.proxy_name,
        "operation": Call.operation,
        "principal_name": Call.principal_name,
        "status": Call.status,
        "duration_ms": Call.duration_ms,
        "added_ms": Call.added_ms,
    },
    default="-started_at",
    descending_first=frozenset({"started_at", "status", "duration_ms", "added_ms"}),
)


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; empty fields do not restrict. `search` is found in path, operation, client, principal and id."""

    proxy_id: str = ""
    verdicts: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    protocol: str = ""
    principal_id: str = ""
    client_ip: str = ""
    status: int | None = None
    search: str = ""
    since_at: datetime | None = None
    until_at: datetime | None = None

    @property
    def is_indexed(self) -> bool:
        """Whether an index answers it: by proxy, verdict and time."""
        others = (self.outcomes, self.protocol, self.principal_id, self.client_ip, self.search)
        return not any(others) and self.status is None


class TrafficRepository:
    """Calls and roll-ups of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    # --- Writing --------------------------------------------------------------------------------------------------

    async def known_ids(self, call_ids: Collection[str]) -> set[str]:
        """Which of these calls are in the log already."""
        known: set[str] = set()
        ids = list(call_ids)
        for start in range(0, len(ids), 500):
            statement = select(Call.id).where(Call.id.in_(ids[start : start + 500]))
            known.update((await self._session.scalars(statement)).all())
        return known

    async def add_calls(self, rows: list[Row]) -> None:
        """Insert rows that `known_ids` did not know."""
        await self._session.execute(insert(Call.__table__), rows)  # type: ignore[arg-type]

    async def add_increments(self, increments: Increments) -> None:
        """Add the sums to the roll-ups, creating the rows that do not exist yet."""
        await self._add(traffic_minutes, increments.minutes, TRAFFIC_SUMS)
        await self._add(traffic_hours, increments.hours, TRAFFIC_SUMS)
        await self._add(rule_hours, increments.rules, RULE_SUMS)
        await self._add(client_hours, increments.clients, CLIENT_SUMS)

    async def _add(self, table: Table, rows: list[Row], sums: Sequence[str]) -> None:
        if not rows:
            return
        dialect = self._session.get_bind().dialect.name
        upsert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
        keys = [column.name for column in table.primary_key]
        added = {name: table.c[name] + upsert.excluded[name] for name in sums}
        await self._session.execute(upsert.on_conflict_do_update(index_elements=keys, set_=added), rows)

    async def delete_calls_before(self, cutoff: datetime, *, limit: int) -> int:
        """Delete at most `limit` calls that began before the cutoff, oldest first; how many were deleted."""
        oldest = (
            select(Call.id)
            .where(Call.tenant_id == self._tenant_id, Call.started_at < cutoff)
            .order_by(Call.started_at)
            .limit(limit)
        )
        ids = (await self._session.scalars(oldest)).all()
        await self._session.execute(delete(CallText).where(CallText.call_id.in_(ids)))
        await self._session.execute(delete(CallRedaction).where(CallRedaction.call_id.in_(ids)))
        result = await self._session.execute(delete(Call).where(Call.id.in_(ids)))
        return result.rowcount  # type: ignore[attr-defined,no-any-return]

    async def delete_rollups(
        self, *, minutes_before: datetime, clients_before: datetime, others_before: datetime
    ) -> None:
        """Delete roll-up rows that began before these times."""
        for table, time, unit_seconds, before in (
            (traffic_minutes, traffic_minutes.c.minute, 60, minutes_before),
            (client_hours, client_hours.c.hour, 3600, clients_before),
            (traffic_hours, traffic_hours.c.hour, 3600, others_before),
            (rule_hours, rule_hours.c.hour, 3600, others_before),
        ):
            first_kept = int(before.timestamp()) // unit_seconds
            await self._session.execute(delete(table).where(table.c.tenant_id == self._tenant_id, time < first_kept))

    # --- The log --------------------------------------------------------------------------------------------------

    async def get(self, call_id: str) -> Call | None:
        """The call with this id."""
        found: Call | None = await self._session.scalar(
            select(Call).where(Call.tenant_id == self._tenant_id, Call.id == call_id)
        )
        return found

    async def within_reach(self, wanted: CallFilter, sort: Sort | None = None) -> CallFilter:
        """The filter, narrowed to the newest calls of those that an index can find, when it or the order needs that."""
        is_by_time = sort is None or sort.name == "started_at"
        if wanted.is_indexed and is_by_time:
            return wanted
        reach = SEARCHED_CALLS if is_by_time else SORTED_CALLS
        indexed = CallFilter(
            proxy_id=wanted.proxy_id, verdicts=wanted.verdicts, since_at=wanted.since_at, until_at=wanted.until_at
        )
        newest = select(Call.started_at).where(*self._conditions(indexed)).order_by(Call.started_at.desc())
        oldest_at = await self._session.scalar(newest.offset(reach - 1).limit(1))
        return wanted if oldest_at is None else msgspec.structs.replace(wanted, since_at=oldest_at)

    async def page(self, wanted: CallFilter, *, limit: int, offset: int, sort: Sort | None = None) -> Sequence[Call]:
        """A page of calls, newest first unless sorted otherwise."""
        order = [*SORTS.clauses(sort), Call.id.asc() if sort == Sort("started_at") else Call.id.desc()]
        statement = select(Call).where(*self._conditions(wanted)).order_by(*order)
        return (await self._session.scalars(statement.limit(limit).offset(offset))).all()

    async def count(self, wanted: CallFilter) -> int:
        """How many calls match; counting stops one after COUNT_LIMIT."""
        matching = select(Call.id).where(*self._conditions(wanted)).limit(COUNT_LIMIT + 1).subquery()
        return await self._session.scalar(select(func.count()).select_from(matching)) or 0

    def _conditions(self, wanted: CallFilter) -> list[ColumnElement[bool]]:
        conditions = [Call.tenant_id == self._tenant_id]
        for column, value in (
            (Call.proxy_id, wanted.proxy_id),
            (Call.protocol, wanted.protocol),
            (Call.principal_id, wanted.principal_id),
            (Call.client_ip, wanted.client_ip),
        ):
            if value:
                conditions.append(column == value)
        if wanted.verdicts:
            conditions.append(Call.verdict.in_(wanted.verdicts))
        if wanted.outcomes:
            conditions.append(Call.outcome.in_(wanted.outcomes))
        if wanted.status is not None:
            conditions.append(Call.status == wanted.status)
        if wanted.since_at is not None:
            conditions.append(Call.started_at >= wanted.since_at)
        if wanted.until_at is not None:
            conditions.append(Call.started_at < wanted.until_at)
        if wanted.search:
            columns = (Call.path, Call.operation, Call.client_ip, Call.principal_name, Call.id)
            text = wanted.search.lower()
            conditions.append(or_(*(func.lower(column).contains(text, autoescape=True) for column in columns)))
        return conditions

    # --- Statistics -----------------------------------------------------------------------------------------------

    async def totals(self, window: Window, *, proxy_id: str = "") -> Row:
        """One row with the sum of every counter in the window."""
        table = traffic_hours if window.is_hourly else traffic_minutes
        sums = [func.coalesce(func.sum(table.c[name]), 0).label(name) for name in TRAFFIC_SUMS]
        statement = select(*sums).where(*self._within(table, window, proxy_id))
        return dict((await self._session.execute(statement)).mappings().one())

    async def totals_by_proxy(self, window: Window) -> list[Row]:
        """The sums of every counter in the window, one row per proxy."""
        table = traffic_hours if window.is_hourly else traffic_minutes
        sums = [func.sum(table.c[name]).label(name) for name in TRAFFIC_SUMS]
        statement = select(table.c.proxy_id, *sums).where(*self._within(table, window, "")).group_by(table.c.proxy_id)
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def points(self, window: Window, *, proxy_id: str = "") -> list[Row]:
        """Calls by verdict per chart step, as rows with `step` (in units of the step since 1970), oldest first."""
        is_fine = window.step_minutes < MINUTES_PER_HOUR
        table = traffic_minutes if is_fine else traffic_hours
        time = table.c.minute if is_fine else table.c.hour * MINUTES_PER_HOUR
        step = (time // window.step_minutes).label("step")
        sums = [func.sum(table.c[name]).label(name) for name in VERDICTS]
        statement = select(step, *sums).where(*self._within(table, window, proxy_id)).group_by(step).order_by(step)
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def top_rules(self, window: Window, *, limit: int, proxy_id: str = "") -> list[Row]:
        """The rules that hit most, from the first hour that the window touches."""
        table, hits = rule_hours, func.sum(rule_hours.c.hits).label("hits")
        statement = (
            select(
                table.c.rule_id,
                table.c.pack,
                func.max(table.c.title).label("title"),
                func.max(table.c.severity).label("severity"),
                hits,
                func.sum(table.c.blocked).label("blocked"),
            )
            .where(*self._within(table, window, proxy_id))
            .group_by(table.c.rule_id, table.c.pack)
            .order_by(hits.desc(), table.c.rule_id, table.c.pack)
            .limit(limit)
        )
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def top_clients(self, window: Window, *, limit: int, proxy_id: str = "") -> list[Row]:
        """The clients that called most, from the first hour that the window touches."""
        table, calls = client_hours, func.sum(client_hours.c.calls).label("calls")
        statement = (
            select(table.c.client, calls, func.sum(table.c.blocked).label("blocked"))
            .where(*self._within(table, window, proxy_id))
            .group_by(table.c.client)
            .order_by(calls.desc(), table.c.client)
            .limit(limit)
        )
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def top_paths(self, since_at: datetime, *, limit: int, proxy_id: str) -> list[Row]:
        """The paths that were called most, among the latest calls of the proxy: paths are the client's invention, so
        they are not rolled up."""
        latest = (
            select(Call.path)
            .where(Call.tenant_id == self._tenant_id, Call.proxy_id == proxy_id, Call.started_at >= since_at)
            .order_by(Call.started_at.desc())
            .limit(PATHS_FROM_LATEST_CALLS)
            .subquery()
        )
        count = func.count().label("count")
        statement = select(latest.c.path, count).group_by(latest.c.path).order_by(count.desc(), latest.c.path)
        return [dict(row) for row in (await self._session.execute(statement.limit(limit))).mappings()]

    def _within(self, table: Table, window: Window, proxy_id: str) -> list[ColumnElement[bool]]:
        is_in_time = (
            table.c.minute >= window.first_minute if table is traffic_minutes else table.c.hour >= window.first_hour
        )
        conditions = [table.c.tenant_id == self._tenant_id, is_in_time]
        return [*conditions, table.c.proxy_id == proxy_id] if proxy_id else conditions
