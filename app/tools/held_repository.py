"""Every query on held calls, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.database.base import DEFAULT_TENANT
from app.tools.models import MCPHeldCall

MAX_WAITING = 500
OPEN = ("waiting",)
UNFINISHED = ("waiting", "releasing", "refusing")


class HeldCallRepository:
    """Held calls of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add(self, row: MCPHeldCall) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    async def get(self, call_id: str) -> MCPHeldCall | None:
        """The held call with this id."""
        found: MCPHeldCall | None = await self._session.scalar(
            select(MCPHeldCall).where(MCPHeldCall.tenant_id == self._tenant_id, MCPHeldCall.id == call_id)
        )
        return found

    async def waiting(self, now: datetime) -> Sequence[MCPHeldCall]:
        """The calls that wait, with their arguments, those that expire first before the others."""
        statement = (
            select(MCPHeldCall)
            .where(MCPHeldCall.tenant_id == self._tenant_id, MCPHeldCall.status.in_(OPEN), MCPHeldCall.expires_at > now)
            .order_by(MCPHeldCall.expires_at, MCPHeldCall.id)
            .limit(MAX_WAITING)
            .options(undefer(MCPHeldCall.sealed_arguments))
        )
        return (await self._session.scalars(statement)).all()

    async def ended(self, *, limit: int) -> Sequence[MCPHeldCall]:
        """The calls that do not wait any more, newest first."""
        statement = (
            select(MCPHeldCall)
            .where(MCPHeldCall.tenant_id == self._tenant_id, MCPHeldCall.status.not_in(OPEN))
            .order_by(MCPHeldCall.held_at.desc(), MCPHeldCall.id.desc())
            .limit(limit)
        )
        return (await self._session.scalars(statement)).all()

    async def count_waiting(self, now: datetime) -> int:
        """How many calls wait."""
        statement = select(func.count()).where(
            MCPHeldCall.tenant_id == self._tenant_id, MCPHeldCall.status.in_(OPEN), MCPHeldCall.expires_at > now
        )
        return await self._session.scalar(statement) or 0

    async def end_all(self, status: str, now: datetime) -> None:
        """Nothing that is unfinished waits any more."""
        await self._session.execute(
            update(MCPHeldCall)
            .where(MCPHeldCall.status.in_(UNFINISHED))
            .values(status=status, decided_at=now)
            .execution_options(synchronize_session=False)
        )

    async def delete_before(self, cutoff: datetime, *, limit: int) -> int:
        """Delete at most `limit` calls that were held before the cutoff; how many were deleted."""
        oldest = select(MCPHeldCall.id).where(MCPHeldCall.held_at < cutoff).order_by(MCPHeldCall.held_at).limit(limit)
        result = await self._session.execute(delete(MCPHeldCall).where(MCPHeldCall.id.in_(oldest.scalar_subquery())))
        return result.rowcount  # type: ignore[attr-defined,no-any-return]
