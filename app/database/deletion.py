"""The rows that were deleted and are still there: finding one to restore it, and removing those whose time is over."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import undo
from app.database.base import Deletable

Row = TypeVar("Row", bound=Deletable)


async def restorable(session: AsyncSession, kind: type[Row], *conditions: ColumnElement[bool]) -> Row | None:
    """The row that was deleted last among those that match and can be restored."""
    statement = select(kind).where(kind.deleted_at > undo.over_before(), *conditions)
    found: Row | None = await session.scalar(statement.order_by(kind.deleted_at.desc()).limit(1))
    return found


def is_over(kind: type[Deletable]) -> ColumnElement[bool]:
    """Whether a row of this kind is deleted for good."""
    return kind.deleted_at <= undo.over_before()


async def remove_for_good(session: AsyncSession, kind: type[Deletable]) -> int:
    """Remove the rows whose time is over, with what the database deletes beside them; how many there were."""
    result = await session.execute(delete(kind).where(is_over(kind)).execution_options(synchronize_session=False))
    return result.rowcount  # type: ignore[attr-defined,no-any-return]
