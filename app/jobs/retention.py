"""Deletes what is older than the settings allow, in portions, so that no other writer waits long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.alerts.declarations import AlertedDeclarations
from app.alerts.repository import AlertRepository
from app.audit import repository as audit_repository
from app.database.engine import Database
from app.tools.held_repository import HeldCallRepository
from app.tools.usage import ToolUsage
from app.traffic.repository import TrafficRepository

logger = logging.getLogger(__name__)

PORTION_ROWS = 2_000
MINUTES_DAYS = 7
"""Charts finer than an hour reach back three days."""
CLIENTS_DAYS = 35
"""Rankings reach back thirty days, and clients can be many."""
ROLLUP_DAYS = 400
"""Hourly sums are small and answer "compared with last year"."""


class Retention:
    """The job. Calls (held ones too), alerts and audit entries by the settings, roll-ups after the days above."""

    def __init__(self, *, database: Database, alerts_days: int, requests_days: int, audit_days: int) -> None:
        self._database = database
        self._alerts_days = alerts_days
        self._requests_days = requests_days
        self._audit_days = audit_days

    async def run(self) -> None:
        """Delete everything that is too old now."""
        now = clock.utcnow()
        calls_before = now - timedelta(days=self._requests_days)
        alerts_before = now - timedelta(days=self._alerts_days)
        calls = await self._delete(
            lambda session: TrafficRepository(session).delete_calls_before(calls_before, limit=PORTION_ROWS)
        )
        alerts = await self._delete(
            lambda session: AlertRepository(session).delete_before(alerts_before, limit=PORTION_ROWS)
        )
        await self._delete(
            lambda session: AlertedDeclarations(session).delete_before(alerts_before, limit=PORTION_ROWS)
        )
        audit_before = now - timedelta(days=self._audit_days)
        entries = await self._delete(
            lambda session: audit_repository.delete_before(session, audit_before, limit=PORTION_ROWS)
        )
        await self._delete(lambda session: HeldCallRepository(session).delete_before(calls_before, limit=PORTION_ROWS))
        async with self._database.writer() as session:
            await ToolUsage(session).prune(now)
            await TrafficRepository(session).delete_rollups(
                minutes_before=now - timedelta(days=MINUTES_DAYS),
                clients_before=now - timedelta(days=CLIENTS_DAYS),
                others_before=now - timedelta(days=ROLLUP_DAYS),
            )
        if calls or alerts or entries:
            logger.info("Retention deleted %d calls, %d alerts and %d audit entries", calls, alerts, entries)

    async def _delete(self, portion: Callable[[AsyncSession], Awaitable[int]]) -> int:
        total = 0
        while True:
            async with self._database.writer() as session:
                deleted = await portion(session)
            total += deleted
            if deleted < PORTION_ROWS:
                return total
            await asyncio.sleep(0)  # Whoever waits for the writer gets a turn between two portions.
