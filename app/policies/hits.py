"""How often rules hit, from the hourly roll-ups that the ingest keeps, and how often people called that wrong."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.traffic.models import rule_hours
from app.traffic.window import Window

DAY_HOURS = 24
WEEK_HOURS = 24 * 7
SPARK_STEP_HOURS = 6


class RuleHits(msgspec.Struct, frozen=True):
    """Hits of one rule in a window."""

    hits: int = 0
    blocked: int = 0


class HitRepository:
    """Hits of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def by_rule(self, now: datetime, hours: int, packs: Collection[str]) -> dict[str, RuleHits]:
        """The rules of these packs that hit in the last hours."""
        table = rule_hours
        statement = (
            select(table.c.rule_id, func.sum(table.c.hits), func.sum(table.c.blocked))
            .where(
                table.c.tenant_id == self._tenant_id,
                table.c.hour >= Window.last(hours, now).first_hour,
                table.c.pack.in_(packs),
            )
            .group_by(table.c.rule_id)
        )
        rows = (await self._session.execute(statement)).all()
        return {rule_id: RuleHits(int(hits), int(blocked)) for rule_id, hits, blocked in rows}

    async def by_proxy_and_pack(self, now: datetime, hours: int) -> dict[tuple[str, str], int]:
        """Hits in the last hours, by proxy and pack."""
        table = rule_hours
        statement = (
            select(table.c.proxy_id, table.c.pack, func.sum(table.c.hits))
            .where(table.c.tenant_id == self._tenant_id, table.c.hour >= Window.last(hours, now).first_hour)
            .group_by(table.c.proxy_id, table.c.pack)
        )
        return {(proxy_id, pack): int(hits) for proxy_id, pack, hits in (await self._session.execute(statement)).all()}

    async def series(self, rule_id: str, now: datetime) -> list[float]:
        """The hits of one rule over the last week, in steps of six hours, oldest first."""
        table, first = rule_hours, Window.last(WEEK_HOURS, now).first_hour
        statement = (
            select(table.c.hour, func.sum(table.c.hits))
            .where(table.c.tenant_id == self._tenant_id, table.c.rule_id == rule_id, table.c.hour >= first)
            .group_by(table.c.hour)
        )
        steps = [0.0] * (WEEK_HOURS // SPARK_STEP_HOURS)
        for hour, hits in (await self._session.execute(statement)).all():
            steps[min((hour - first) // SPARK_STEP_HOURS, len(steps) - 1)] += hits
        return steps
