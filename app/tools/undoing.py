"""Puts entries, changes and alerts back as they were before a decision, in the caller's unit of work."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete

from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.alerts.workflow import AlertStatus
from app.tools.applying import refresh_state
from app.tools.errors import UndoOutdated
from app.tools.memory import EntryBefore, Kept, change_mark, entry_mark
from app.tools.models import MCPEntry, MCPUndo, MCPVersion
from app.tools.undos import kept_of
from app.tools.work import Work


async def put_back(work: Work, undo: MCPUndo) -> list[str]:
    """Everything as it was; raises UndoOutdated, before anything is written, unless all of it is as the decision left it.

    Returns the names of the entries.
    """
    kept = kept_of(undo)
    rows = {row.id: row for row in await work.repository.entries_by_id([one.id for one in kept.entries])}
    changes = {row.id: row for row in await work.repository.changes_by_id([one.id for one in kept.changes])}
    if any(one.id not in rows or entry_mark(rows[one.id]) != kept.entries_after[one.id] for one in kept.entries):
        raise UndoOutdated
    if any(one.id not in changes or change_mark(changes[one.id]) != kept.changes_after[one.id] for one in kept.changes):
        raise UndoOutdated
    for before in kept.entries:
        await _entry(work, rows[before.id], before)
    for was in kept.changes:
        row = changes[was.id]
        row.status, row.decided_at, row.decided_by, row.comment = (
            was.status,
            was.decided_at,
            was.decided_by,
            was.comment,
        )
    await _alerts(work, kept)
    names = [rows[one.id].name or work.proxy.name for one in kept.entries]
    return names or [changes[one.id].name or work.proxy.name for one in kept.changes]


async def _entry(work: Work, row: MCPEntry, before: EntryBefore) -> None:
    document = None
    if before.approved_hash:
        version = await work.repository.version(row.id, before.approved_version)
        if version is None or version.h_raw != before.approved_hash:
            raise UndoOutdated
        document = version.document
    # The approvals that are taken back leave the history; the audit log has them and their end.
    later = MCPVersion.entry_id == row.id, MCPVersion.version > before.approved_version
    await work.session.execute(delete(MCPVersion).where(*later).execution_options(synchronize_session=False))
    row.approved_hash, row.approved_document = before.approved_hash, document
    row.approved_findings, row.approved_version = before.approved_findings, before.approved_version
    row.approved_at, row.approved_by = before.approved_at, before.approved_by
    row.tolerated, row.is_disabled = before.tolerated, before.is_disabled
    row.changed_at = work.now
    refresh_state(row)


async def _alerts(work: Work, kept: Kept) -> None:
    """Alerts that the decision resolved and that nobody has touched since."""
    statuses = {one.id: one.status for one in kept.alerts}
    for row in await AlertRepository(work.session, work.actor.tenant_id).get_many(list(statuses)):
        if row.status == AlertStatus.RESOLVED:
            row.status, row.resolved_by, row.updated_at = statuses[row.id], None, work.now
            work.reopened.append(msgspec.to_builtins(alert_view(row)))
