"""Every query on canaries, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.canaries.models import Canary
from app.database.base import DEFAULT_TENANT


class CanaryRepository:
    """Canaries of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def get(self, canary_id: str) -> Canary | None:
        """The canary with this id."""
        statement = select(Canary).where(Canary.tenant_id == self._tenant_id, Canary.id == canary_id)
        found: Canary | None = await self._session.scalar(statement)
        return found

    async def all(self) -> Sequence[Canary]:
        """Every canary, newest first; their number is bounded by the service."""
        statement = select(Canary).where(Canary.tenant_id == self._tenant_id)
        return (await self._session.scalars(statement.order_by(Canary.created_at.desc(), Canary.id.desc()))).all()

    async def count(self) -> int:
        """How many there are."""
        mine = select(func.count()).select_from(Canary).where(Canary.tenant_id == self._tenant_id)
        return await self._session.scalar(mine) or 0

    async def is_named(self, name: str) -> bool:
        """Whether the name is taken."""
        statement = select(Canary.id).where(Canary.tenant_id == self._tenant_id, Canary.name == name)
        return await self._session.scalar(statement) is not None

    def add(self, canary: Canary) -> None:
        """Insert with the unit of work."""
        canary.tenant_id = self._tenant_id
        self._session.add(canary)

    async def delete(self, canary: Canary) -> None:
        """Delete with the unit of work."""
        await self._session.delete(canary)
