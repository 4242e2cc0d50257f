"""Every query on canaries, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.canaries.models import Canary
from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable


class CanaryRepository:
    """Canaries of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (Canary.tenant_id == tenant_id, Canary.deleted_at.is_(None))

    async def get(self, canary_id: str) -> Canary | None:
        """The canary with this id."""
        found: Canary | None = await self._session.scalar(select(Canary).where(*self._mine, Canary.id == canary_id))
        return found

    async def deleted(self, canary_id: str) -> Canary | None:
        """The canary with this id that was deleted and may be restored."""
        return await restorable(self._session, Canary, Canary.tenant_id == self._tenant_id, Canary.id == canary_id)

    async def all(self) -> Sequence[Canary]:
        """Every canary, newest first; their number is bounded by the service."""
        statement = select(Canary).where(*self._mine)
        return (await self._session.scalars(statement.order_by(Canary.created_at.desc(), Canary.id.desc()))).all()

    async def count(self) -> int:
        """How many there are."""
        mine = select(func.count()).select_from(Canary).where(*self._mine)
        return await self._session.scalar(mine) or 0

    async def is_named(self, name: str) -> bool:
        """Whether the name is taken."""
        statement = select(Canary.id).where(*self._mine, Canary.name == name)
        return await self._session.scalar(statement) is not None

    def add(self, canary: Canary) -> None:
        """Insert with the unit of work."""
        canary.tenant_id = self._tenant_id
        self._session.add(canary)
