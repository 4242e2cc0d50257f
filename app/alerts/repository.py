"""Every query on alerts, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Alert
from app.database.base import DEFAULT_TENANT
from app.http.sorting import Sort, Sorts
from rules.model import Severity

Row = dict[str, Any]
SEVERITY_RANK = case({severity.word: severity.value for severity in Severity}, value=Alert.severity)
GROUPED_ALERTS = 5_000
"""Groups are made of the newest alerts only: the page must not read a hundred thousand for eight words."""
URGENT = ("critical", "high")
"""The severities that somebody has to look at, the worse one first."""
SORTS = Sorts(
    {
        "created_at": Alert.created_at,
        "severity": SEVERITY_RANK,
        "title": Alert.title,
        "proxy_name": Alert.proxy_name,
        "status": Alert.status,
    },
    default="-created_at",
    descending_first=frozenset({"created_at", "severity"}),
)


class AlertFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts; empty fields do not restrict. `search` is found in title, rule, evidence, client, proxy and ids."""

    severities: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    proxy_id: str = ""
    rule_id: str = ""
    call_id: str = ""
    search: str = ""
    since_at: datetime | None = None


class AlertRepository:
    """Alerts of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add_new(self, rows: list[dict[str, Any]]) -> None:
        """Insert alerts; one that exists for its call and rule is left as it is."""
        if not rows:
            return
        dialect = self._session.get_bind().dialect.name
        table = Alert.__table__
        statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)  # type: ignore[arg-type]
        once = statement.on_conflict_do_nothing(index_elements=["tenant_id", "call_id", "rule_id"])
        await self._session.execute(once, rows)

    async def get(self, alert_id: str) -> Alert | None:
        """The alert with this id."""
        found: Alert | None = await self._session.scalar(
            select(Alert).where(Alert.tenant_id == self._tenant_id, Alert.id == alert_id)
        )
        return found

    async def get_many(self, alert_ids: Collection[str]) -> Sequence[Alert]:
        """Those of these alerts that exist."""
        statement = select(Alert).where(Alert.tenant_id == self._tenant_id, Alert.id.in_(list(alert_ids)))
        return (await self._session.scalars(statement)).all()

    async def of_calls(self, call_ids: Collection[str]) -> Sequence[Alert]:
        """The alerts that these calls raised."""
        statement = select(Alert).where(Alert.tenant_id == self._tenant_id, Alert.call_id.in_(list(call_ids)))
        return (await self._session.scalars(statement.order_by(Alert.id))).all()

    async def page(
        self, wanted: AlertFilter, *, limit: int, offset: int, sort: Sort | None = None
    ) -> tuple[Sequence[Alert], int]:
        """A page of alerts, newest first unless sorted otherwise, and how many match."""
        conditions = self._conditions(wanted)
        total = await self._session.scalar(select(func.count()).select_from(Alert).where(*conditions))
        order = [*SORTS.clauses(sort), Alert.created_at.desc(), Alert.id.desc()]
        statement = select(Alert).where(*conditions).order_by(*order)
        return (await self._session.scalars(statement.limit(limit).offset(offset))).all(), total or 0

    async def groups(self, wanted: AlertFilter, *, limit: int) -> list[Row]:
        """The newest GROUPED_ALERTS matching alerts by rule and proxy, the largest groups first."""
        newest = (
            select(Alert.rule_id, Alert.title, Alert.severity, Alert.proxy_id, Alert.proxy_name, Alert.created_at)
            .where(*self._conditions(wanted))
            .order_by(Alert.created_at.desc())
            .limit(GROUPED_ALERTS)
            .subquery()
        )
        count, last_at = func.count().label("count"), func.max(newest.c.created_at).label("last_at")
        statement = (
            select(
                newest.c.rule_id,
                func.max(newest.c.title).label("title"),
                func.max(newest.c.severity).label("severity"),
                newest.c.proxy_id,
                func.max(newest.c.proxy_name).label("proxy_name"),
                count,
                last_at,
            )
            .group_by(newest.c.rule_id, newest.c.proxy_id)
            .order_by(count.desc(), newest.c.rule_id, newest.c.proxy_id)
            .limit(limit)
        )
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def counts(self) -> list[Row]:
        """How many alerts there are by status and severity."""
        statement = (
            select(Alert.status, Alert.severity, func.count().label("count"))
            .where(Alert.tenant_id == self._tenant_id)
            .group_by(Alert.status, Alert.severity)
        )
        return [dict(row) for row in (await self._session.execute(statement)).mappings()]

    async def seen_by_rule(self, rule_ids: Collection[str]) -> dict[str, tuple[int, datetime]]:
        """For each of these rules that raised alerts how many, and when the newest."""
        statement = (
            select(Alert.rule_id, func.count(), func.max(Alert.created_at))
            .where(Alert.tenant_id == self._tenant_id, Alert.rule_id.in_(rule_ids))
            .group_by(Alert.rule_id)
        )
        return {rule_id: (count, seen_at) for rule_id, count, seen_at in await self._session.execute(statement)}

    async def count_of_proxy(self, proxy_id: str, since_at: datetime) -> int:
        """How many alerts a proxy raised since then."""
        statement = select(func.count()).where(
            Alert.tenant_id == self._tenant_id, Alert.proxy_id == proxy_id, Alert.created_at >= since_at
        )
        return await self._session.scalar(statement) or 0

    async def count_of_policy(self, proxy_id: str, policy_name: str, since_at: datetime) -> int:
        """How many alerts of one policy a proxy raised since then."""
        statement = select(func.count()).where(
            Alert.tenant_id == self._tenant_id,
            Alert.proxy_id == proxy_id,
            Alert.created_at >= since_at,
            Alert.policy_name == policy_name,
        )
        return await self._session.scalar(statement) or 0

    async def worst_open(self, *, limit: int) -> Sequence[Alert]:
        """Open critical and high alerts, the worst first, then the newest: a look at the index for each severity."""
        found: list[Alert] = []
        for severity in URGENT:
            statement = (
                select(Alert)
                .where(Alert.tenant_id == self._tenant_id, Alert.status == "open", Alert.severity == severity)
                .order_by(Alert.created_at.desc())
                .limit(limit - len(found))
            )
            found += (await self._session.scalars(statement)).all()
        return found

    async def count_urgent(self, *, most: int) -> int:
        """How many open alerts are critical or high; counting stops at `most`, because every page asks."""
        urgent = (
            select(Alert.id)
            .where(Alert.tenant_id == self._tenant_id, Alert.status == "open", Alert.severity.in_(URGENT))
            .limit(most)
        )
        return await self._session.scalar(select(func.count()).select_from(urgent.subquery())) or 0

    async def delete_before(self, cutoff: datetime, *, limit: int) -> int:
        """Delete at most `limit` alerts that arose before the cutoff, oldest first; how many were deleted."""
        oldest = (
            select(Alert.id)
            .where(Alert.tenant_id == self._tenant_id, Alert.created_at < cutoff)
            .order_by(Alert.created_at)
            .limit(limit)
        )
        result = await self._session.execute(delete(Alert).where(Alert.id.in_(oldest.scalar_subquery())))
        return result.rowcount  # type: ignore[attr-defined,no-any-return]

    def _conditions(self, wanted: AlertFilter) -> list[ColumnElement[bool]]:
        conditions = [Alert.tenant_id == self._tenant_id]
        if wanted.severities:
            conditions.append(Alert.severity.in_(wanted.severities))
        if wanted.statuses:
            conditions.append(Alert.status.in_(wanted.statuses))
        for column, value in (
            (Alert.proxy_id, wanted.proxy_id),
            (Alert.rule_id, wanted.rule_id),
            (Alert.call_id, wanted.call_id),
        ):
            if value:
                conditions.append(column == value)
        if wanted.since_at is not None:
            conditions.append(Alert.created_at >= wanted.since_at)
        if wanted.search:
            columns = (
                Alert.title,
                Alert.rule_id,
                Alert.evidence,
                Alert.proxy_name,
                Alert.client_ip,
                Alert.principal_name,
                Alert.call_id,
                Alert.id,
            )
            text = wanted.search.lower()
            conditions.append(or_(*(func.lower(column).contains(text, autoescape=True) for column in columns)))
        return conditions
