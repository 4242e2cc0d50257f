"""The decisions that can still be taken back: kept as long as *Undo* is offered, each for the person who made it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import ids
from app.database.base import DEFAULT_TENANT
from app.tools.memory import Kept, Memory
from app.tools.models import MCPUndo
from app.tools.schemas import UndoView
from app.undo import WINDOW, over_before

MAX_SHOWN = 20


class Undos:
    """The table of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def keep(self, memory: Memory, proxy_id: str, user_id: str, now: datetime) -> None:
        """Keep what taking a decision back needs."""
        kept = memory.kept()
        if kept is not None:
            self._session.add(
                MCPUndo(
                    id=ids.new_id("undo"),
                    tenant_id=self._tenant_id,
                    proxy_id=proxy_id,
                    user_id=user_id,
                    made_at=now,
                    entries=len(kept.entries),
                    kept=msgspec.json.encode(kept),
                )
            )

    async def of_actor(self, user_id: str, proxy_id: str = "") -> Sequence[MCPUndo]:
        """The decisions of a person that can be taken back, the latest first."""
        statement = self._mine(user_id)
        if proxy_id:
            statement = statement.where(MCPUndo.proxy_id == proxy_id)
        order = (MCPUndo.made_at.desc(), MCPUndo.id.desc())
        return (await self._session.scalars(statement.order_by(*order).limit(MAX_SHOWN))).all()

    async def get(self, undo_id: str, user_id: str) -> MCPUndo | None:
        """One of them."""
        found: MCPUndo | None = await self._session.scalar(self._mine(user_id).where(MCPUndo.id == undo_id))
        return found

    async def delete(self, row: MCPUndo) -> None:
        """Delete with the unit of work."""
        await self._session.delete(row)

    def _mine(self, user_id: str) -> Select[MCPUndo]:
        return select(MCPUndo).where(
            MCPUndo.tenant_id == self._tenant_id, MCPUndo.user_id == user_id, MCPUndo.made_at > over_before()
        )


def kept_of(row: MCPUndo) -> Kept:
    """What a row keeps."""
    return msgspec.json.decode(row.kept, type=Kept)


def undo_view(row: MCPUndo) -> UndoView:
    """One row as the API shows it."""
    return UndoView(
        id=row.id,
        proxy_id=row.proxy_id,
        entries=row.entries,
        made_at=row.made_at,
        expires_at=row.made_at + WINDOW,
    )
