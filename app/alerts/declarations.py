"""Findings that stand still: what a server declares is found with every client's list, and alerts once.

Known is the state: rule, declaration, severity and what was done about it. A state alerts when it is seen for the first
time, and again once retention has deleted what it said then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import AlertedDeclaration
from app.alerts.recording import effective_action
from app.database.base import DEFAULT_TENANT
from proxies.contract import CallRecord
from rules.model import Action, Finding

QUERIED_STATES = 500
"""States in one statement, which databases bound."""


def state_of(record: CallRecord, finding: Finding) -> str:
    """The state that an alerting finding in a declaration is about; empty for all others, which are news each time."""
    if not finding.declaration or finding.action < Action.ALERT:
        return ""
    said = (
        record.proxy_id,
        finding.pack,
        finding.rule_id,
        finding.declaration,
        finding.severity.word,
        effective_action(record, finding).word,
    )
    return hashlib.sha256("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest()


class AlertedDeclarations:
    """The states of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def known(self, records: Iterable[CallRecord]) -> set[str]:
        """Those states of these calls that have alerted."""
        states = sorted({state_of(record, finding) for record in records for finding in record.findings} - {""})
        known: set[str] = set()
        for start in range(0, len(states), QUERIED_STATES):
            part = states[start : start + QUERIED_STATES]
            mine = AlertedDeclaration.tenant_id == self._tenant_id
            known |= set(
                await self._session.scalars(
                    select(AlertedDeclaration.state).where(mine, AlertedDeclaration.state.in_(part))
                )
            )
        return known

    def add(self, states: Collection[str], now: datetime) -> None:
        """These have alerted now."""
        self._session.add_all(
            AlertedDeclaration(tenant_id=self._tenant_id, state=state, alerted_at=now) for state in sorted(states)
        )

    async def delete_before(self, cutoff: datetime, *, limit: int) -> int:
        """Forget at most `limit` that alerted before the cutoff; how many."""
        oldest = (
            select(AlertedDeclaration.state)
            .where(AlertedDeclaration.tenant_id == self._tenant_id, AlertedDeclaration.alerted_at < cutoff)
            .order_by(AlertedDeclaration.alerted_at)
            .limit(limit)
        )
        mine = AlertedDeclaration.tenant_id == self._tenant_id
        result = await self._session.execute(
            delete(AlertedDeclaration).where(mine, AlertedDeclaration.state.in_(oldest.scalar_subquery()))
        )
        return result.rowcount  # type: ignore[attr-defined,no-any-return]


class News:
    """Which findings of a batch are worth an alert: those that are about calls, and each state once."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        self.said: set[str] = set()
        """States that alert with this batch."""

    def of(self, record: CallRecord) -> list[Finding]:
        """The findings of a call without those that say nothing new."""
        told = self._known | self.said
        news = [finding for finding in record.findings if state_of(record, finding) not in told]
        self.said |= {state_of(record, finding) for finding in news} - {""}
        return news
