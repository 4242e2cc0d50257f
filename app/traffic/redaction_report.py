"""Masked values added up over a time range, for compliance (SLG-ROAD-4): `RedactionReports.report` and `.entries`.

Nothing here holds a value. Each question reads the masked values of the range once, by the index on tenant and time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil

import msgspec
from sqlalchemy import ColumnElement, case, extract, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.errors import ValidationFailed
from app.http.envelope import Listing
from app.traffic.models import CallRedaction
from app.traffic.redactions import RedactionView

MAX_REPORT_ROWS = 10_000
MAX_CLIENTS = 100
MAX_RANGE_DAYS = 400
HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
HOURLY_DAYS = 3
"""Up to so many days a chart steps by the hour, beyond by the day."""


class RedactionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which masked values: of calls that began in this range; empty fields do not restrict."""

    since_at: datetime
    until_at: datetime
    proxy_id: str = ""
    type: str = ""
    direction: str = ""
    rule_id: str = ""

    def __post_init__(self) -> None:
        if self.since_at >= self.until_at:
            raise ValidationFailed(fields={"to": "The range ends before it begins. Choose a later end."})
        if (self.until_at - self.since_at).days > MAX_RANGE_DAYS:
            words = f"A report covers at most {MAX_RANGE_DAYS} days. Choose a later beginning, or make several reports."
            raise ValidationFailed(fields={"from": words})

    @property
    def step_seconds(self) -> int:
        """The step of the chart."""
        return HOUR_SECONDS if (self.until_at - self.since_at).days <= HOURLY_DAYS else DAY_SECONDS


class RedactionTotal(RedactionView, frozen=True, kw_only=True):
    """Values of one type that one rule masked in one direction, over all calls of a proxy in the range."""

    proxy_id: str
    proxy_name: str
    calls: int


class RedactionEntry(RedactionView, frozen=True, kw_only=True):
    """Values of one type that one rule masked in one direction of one call."""

    call_id: str
    started_at: datetime
    proxy_id: str
    proxy_name: str
    client: str
    """Name of the key, or the address of a client without one."""


class ClientRedactions(msgspec.Struct, frozen=True, kw_only=True):
    """What was masked in the calls of one client."""

    client: str
    calls: int
    count: int
    restored: int


class RedactionPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Masked values by direction in one step of the chart, which begins at `at`."""

    at: datetime
    request: int = 0
    response: int = 0


class RedactionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Totals by type, direction, policy, rule and proxy, the largest first; by client; and over time."""

    since_at: datetime
    until_at: datetime
    calls: int
    """Calls in which anything was masked."""
    count: int
    restored: int
    rows: list[RedactionTotal]
    truncated: bool
    """Whether there are more rows than a report holds."""
    clients: list[ClientRedactions]
    """The clients of whose calls most was masked."""
    step_seconds: int
    points: list[RedactionPoint]
    """Without gaps."""


class RedactionSum(msgspec.Struct, frozen=True):
    """The rows of a report that share something, added up."""

    key: str
    name: str
    count: int
    restored: int


def sums(rows: Sequence[RedactionTotal], key: Callable[[RedactionTotal], tuple[str, str]]) -> list[RedactionSum]:
    """Rows added up by (key, name), the largest first."""
    found: dict[str, RedactionSum] = {}
    for row in rows:
        identity, name = key(row)
        known = found.get(identity) or RedactionSum(identity, name, 0, 0)
        found[identity] = RedactionSum(identity, known.name, known.count + row.count, known.restored + row.restored)
    return sorted(found.values(), key=lambda one: (-one.count, one.name))


class RedactionReports:
    """Questions about the masked values of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def report(self, wanted: RedactionFilter) -> RedactionReport:
        """Everything that was masked, added up."""
        conditions = self._conditions(wanted)
        rows = await self._totals(conditions)
        clients = await self._clients(conditions) if rows else []
        if len(clients) <= MAX_CLIENTS:
            calls = sum(one.calls for one in clients)
        else:
            masked = (*conditions, CallRedaction.count > 0)
            distinct = select(CallRedaction.call_id).where(*masked).distinct().subquery()
            calls = await self._session.scalar(select(func.count()).select_from(distinct)) or 0
        count, restored = sum(row.count for row in rows), sum(row.restored for row in rows)
        if len(rows) > MAX_REPORT_ROWS:
            sums = select(func.sum(CallRedaction.count), func.sum(CallRedaction.restored)).where(*conditions)
            count, restored = map(int, (await self._session.execute(sums)).one())
        return RedactionReport(
            since_at=wanted.since_at,
            until_at=wanted.until_at,
            calls=calls,
            count=count,
            restored=restored,
            rows=rows[:MAX_REPORT_ROWS],
            truncated=len(rows) > MAX_REPORT_ROWS,
            clients=clients[:MAX_CLIENTS],
            step_seconds=wanted.step_seconds,
            points=await self._points(wanted, conditions),
        )

    async def entries(self, wanted: RedactionFilter, *, limit: int, offset: int = 0) -> Listing[RedactionEntry]:
        """What was masked call by call, newest first."""
        table, conditions = CallRedaction, self._conditions(wanted)
        order = (table.started_at.desc(), table.call_id, table.direction, table.type, table.rule_id)
        statement = select(table).where(*conditions).order_by(*order).limit(limit).offset(offset)
        found = (await self._session.scalars(statement)).all()
        total = await self._session.scalar(select(func.count()).select_from(table).where(*conditions))
        items = [msgspec.convert(row, RedactionEntry, from_attributes=True) for row in found]
        return Listing(items, total or 0, limit, offset)

    async def _totals(self, conditions: Sequence[ColumnElement[bool]]) -> list[RedactionTotal]:
        table = CallRedaction
        kinds = (table.type, table.direction, table.policy, table.rule_id, table.proxy_id)
        statement = (
            select(
                *kinds,
                func.max(table.proxy_name).label("proxy_name"),
                # A call has one row of each type, direction and rule.
                func.sum(case((table.count > 0, 1), else_=0)).label("calls"),
                func.sum(table.count).label("total"),
                func.sum(table.restored).label("restored"),
            )
            .where(*conditions)
            .group_by(*kinds)
            .order_by(func.sum(table.count).desc(), *kinds)
            .limit(MAX_REPORT_ROWS + 1)
        )
        return [
            RedactionTotal(
                type=row.type,
                direction=row.direction,
                policy=row.policy,
                rule_id=row.rule_id,
                proxy_id=row.proxy_id,
                proxy_name=row.proxy_name,
                calls=int(row.calls),
                count=int(row.total),
                restored=int(row.restored),
            )
            for row in (await self._session.execute(statement)).all()
        ]

    async def _clients(self, conditions: Sequence[ColumnElement[bool]]) -> list[ClientRedactions]:
        """The clients, one more than a report holds if there are so many."""
        table = CallRedaction
        of_call = (
            select(
                func.max(table.client).label("client"),
                func.sum(table.count).label("total"),
                func.sum(table.restored).label("restored"),
            )
            .where(*conditions)
            .group_by(table.call_id)
            .subquery()
        )
        calls = func.sum(case((of_call.c.total > 0, 1), else_=0)).label("calls")
        sums = (calls, func.sum(of_call.c.total).label("total"), func.sum(of_call.c.restored))
        statement = (
            select(of_call.c.client, *sums)
            .group_by(of_call.c.client)
            .order_by(func.sum(of_call.c.total).desc(), of_call.c.client)
            .limit(MAX_CLIENTS + 1)
        )
        return [
            ClientRedactions(client=client, calls=int(calls), count=int(count), restored=int(restored))
            for client, calls, count, restored in (await self._session.execute(statement)).all()
        ]

    async def _points(self, wanted: RedactionFilter, conditions: Sequence[ColumnElement[bool]]) -> list[RedactionPoint]:
        table, step_seconds = CallRedaction, wanted.step_seconds
        seconds = extract("epoch", table.started_at)
        step = (seconds - seconds % step_seconds).label("step")
        statement = (
            select(step, table.direction, func.sum(table.count).label("total"))
            .where(*conditions)
            .group_by(step, table.direction)
        )
        counts: dict[int, dict[str, int]] = {}
        for row in (await self._session.execute(statement)).all():
            counts.setdefault(round(row.step), {})[row.direction] = int(row.total)
        first = int(wanted.since_at.timestamp()) // step_seconds * step_seconds
        return [
            RedactionPoint(at=datetime.fromtimestamp(at, UTC), **counts.get(at, {}))
            for at in range(first, ceil(wanted.until_at.timestamp()), step_seconds)
        ]

    def _conditions(self, wanted: RedactionFilter) -> list[ColumnElement[bool]]:
        table = CallRedaction
        conditions = [
            table.tenant_id == self._tenant_id,
            table.started_at >= wanted.since_at,
            table.started_at < wanted.until_at,
        ]
        for column, value in (
            (table.proxy_id, wanted.proxy_id),
            (table.type, wanted.type),
            (table.direction, wanted.direction),
            (table.rule_id, wanted.rule_id),
        ):
            if value:
                conditions.append(column == value)
        return conditions
