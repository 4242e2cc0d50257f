"""Every query of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.models import AuditEntry
from app.http.sorting import Sort, Sorts

SORTS = Sorts(
    {
        "timestamp": AuditEntry.sequence,
        "event_type": AuditEntry.event_type,
        "username": AuditEntry.actor_name,
        "resource_name": AuditEntry.resource_name,
        "source_ip": AuditEntry.source_ip,
    },
    default="-timestamp",
    descending_first=frozenset({"timestamp"}),
)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; empty fields match everything."""

    tenant_id: str
    event_type: str = ""
    """Matches by its beginning."""
    actor: str = ""
    result: str = ""


async def newest(session: AsyncSession) -> AuditEntry | None:
    """The head of the chain."""
    return await session.scalar(select(AuditEntry).order_by(AuditEntry.sequence.desc()).limit(1))


async def after(session: AsyncSession, sequence: int, limit: int) -> Sequence[AuditEntry]:
    """Entries that follow a sequence number, oldest first; all tenants, as the chain is one."""
    query = select(AuditEntry).where(AuditEntry.sequence > sequence).order_by(AuditEntry.sequence).limit(limit)
    return (await session.scalars(query)).all()


async def delete_before(session: AsyncSession, at: datetime, limit: int) -> int:
    """Delete the oldest entries that are older than `at`, at most `limit`; the newest of all always stays.

    Only from the old end: what follows a younger entry stays, whatever its clock said, so that the chain has no holes.
    """
    first = await session.scalar(select(func.min(AuditEntry.sequence)))
    last = await session.scalar(select(func.max(AuditEntry.sequence)))
    if first is None or last is None:
        return 0
    kept_from = await session.scalar(select(func.min(AuditEntry.sequence)).where(AuditEntry.at >= at))
    end = min(kept_from or last, first + limit)
    deleted = await session.scalars(delete(AuditEntry).where(AuditEntry.sequence < end).returning(AuditEntry.sequence))
    return len(deleted.all())


async def search(
    session: AsyncSession, wanted: AuditFilter, *, limit: int, offset: int, sort: Sort | None = None
) -> tuple[Sequence[AuditEntry], int]:
    """One page, newest first unless sorted otherwise, and the number of all that match."""
    query = _matching(wanted)
    total = await session.scalar(select(func.count()).select_from(query.subquery()))
    rows = await session.scalars(
        query.order_by(*SORTS.clauses(sort), AuditEntry.sequence.desc()).limit(limit).offset(offset)
    )
    return rows.all(), total or 0


async def portion(
    session: AsyncSession, wanted: AuditFilter, *, before: int | None, limit: int
) -> Sequence[AuditEntry]:
    """The newest entries that match, or those before a sequence number."""
    query = _matching(wanted)
    if before is not None:
        query = query.where(AuditEntry.sequence < before)
    return (await session.scalars(query.order_by(AuditEntry.sequence.desc()).limit(limit))).all()


def _matching(wanted: AuditFilter) -> Select[AuditEntry]:
    query = select(AuditEntry).where(AuditEntry.tenant_id == wanted.tenant_id)
    if wanted.event_type:
        query = query.where(AuditEntry.event_type.startswith(wanted.event_type, autoescape=True))
    if wanted.actor:
        query = query.where(AuditEntry.actor_name == wanted.actor)
    if wanted.result:
        query = query.where(AuditEntry.result == wanted.result)
    return query
