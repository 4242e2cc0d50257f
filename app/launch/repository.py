"""Every query on the list of programs, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable
from app.launch.models import LaunchProgram


class LaunchRepository:
    """The programs of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (LaunchProgram.tenant_id == tenant_id, LaunchProgram.deleted_at.is_(None))

    async def get(self, program_id: str) -> LaunchProgram | None:
        """The entry with this id."""
        statement = select(LaunchProgram).where(*self._mine, LaunchProgram.id == program_id)
        found: LaunchProgram | None = await self._session.scalar(statement)
        return found

    async def deleted(self, program_id: str) -> LaunchProgram | None:
        """The entry with this id that was taken off the list and may be restored."""
        mine = LaunchProgram.tenant_id == self._tenant_id
        return await restorable(self._session, LaunchProgram, mine, LaunchProgram.id == program_id)

    async def all(self) -> Sequence[LaunchProgram]:
        """Every entry, by program; their number is bounded by the service."""
        statement = select(LaunchProgram).where(*self._mine)
        return (await self._session.scalars(statement.order_by(LaunchProgram.program, LaunchProgram.id))).all()

    def add(self, program: LaunchProgram) -> None:
        """Insert with the unit of work."""
        program.tenant_id = self._tenant_id
        self._session.add(program)
