"""Every query on guidelines, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable
from app.guidelines.models import Guideline


class GuidelineRepository:
    """Guidelines of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (Guideline.tenant_id == tenant_id, Guideline.deleted_at.is_(None))

    async def get(self, guideline_id: str) -> Guideline | None:
        """The guideline with this id."""
        found: Guideline | None = await self._session.scalar(
            select(Guideline).where(*self._mine, Guideline.id == guideline_id)
        )
        return found

    async def deleted(self, guideline_id: str) -> Guideline | None:
        """The guideline with this id that was deleted and may be restored."""
        mine = (Guideline.tenant_id == self._tenant_id, Guideline.id == guideline_id)
        return await restorable(self._session, Guideline, *mine)

    async def named(self, name: str) -> Guideline | None:
        """The guideline with this name."""
        found: Guideline | None = await self._session.scalar(
            select(Guideline).where(*self._mine, Guideline.name == name)
        )
        return found

    async def all(self) -> Sequence[Guideline]:
        """Every guideline without its text, by name; their number is bounded by the service."""
        statement = select(Guideline).options(defer(Guideline.content, raiseload=True)).where(*self._mine)
        return (await self._session.scalars(statement.order_by(Guideline.name, Guideline.id))).all()

    async def contents(self) -> Sequence[tuple[str, str, str]]:
        """(id, name, text) of every guideline, by name."""
        statement = select(Guideline.id, Guideline.name, Guideline.content).where(*self._mine)
        rows = await self._session.execute(statement.order_by(Guideline.name, Guideline.id))
        return [(guideline_id, name, content) for guideline_id, name, content in rows]

    async def state(self) -> tuple[tuple[str, str], ...]:
        """By which it is known whether anything has changed: ids and digests."""
        statement = select(Guideline.id, Guideline.sha256).where(*self._mine)
        rows = await self._session.execute(statement.order_by(Guideline.name, Guideline.id))
        return tuple((guideline_id, digest) for guideline_id, digest in rows)

    async def sums(self) -> tuple[int, int]:
        """How many there are, and how many characters they have together."""
        statement = select(func.count(), func.coalesce(func.sum(Guideline.characters), 0)).where(*self._mine)
        count, characters = (await self._session.execute(statement)).one()
        return count, characters

    def add(self, guideline: Guideline) -> None:
        """Insert with the unit of work."""
        guideline.tenant_id = self._tenant_id
        self._session.add(guideline)
