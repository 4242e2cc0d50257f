"""How entries, changes and alerts were before a decision, and how they were after it. Pure: no I/O."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.tools.models import MCPChange, MCPEntry

MAX_ENTRIES = 2_000
"""A decision about more entries at once cannot be taken back as one."""


class EntryBefore(msgspec.Struct, frozen=True):
    """What people decide about an entry. The approved document is that of the version, so it is not kept twice."""

    id: str
    approved_hash: str
    approved_findings: list[str]
    approved_version: int
    approved_at: datetime | None
    approved_by: str
    tolerated: list[str]
    is_disabled: bool


class ChangeBefore(msgspec.Struct, frozen=True):
    """Where a change stood."""

    id: str
    status: str
    decided_at: datetime | None
    decided_by: str
    comment: str


class AlertBefore(msgspec.Struct, frozen=True):
    """Where an alert stood that the decision resolved."""

    id: str
    status: str


class Kept(msgspec.Struct, frozen=True):
    """Everything that taking a decision back needs."""

    entries: list[EntryBefore]
    entries_after: dict[str, str]
    changes: list[ChangeBefore]
    changes_after: dict[str, str]
    alerts: list[AlertBefore]


class Memory:
    """What one unit of work has touched, as it was when it was touched first."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[MCPEntry, EntryBefore, str]] = {}
        self._changes: dict[str, tuple[MCPChange, ChangeBefore, str]] = {}
        self._alerts: list[AlertBefore] = []

    def __repr__(self) -> str:
        return f"<Memory of {len(self._entries)} entries, {len(self._changes)} changes>"

    def entry(self, row: MCPEntry) -> None:
        """Remember an entry before it is changed."""
        if row.id not in self._entries:
            before = EntryBefore(
                id=row.id,
                approved_hash=row.approved_hash,
                approved_findings=list(row.approved_findings),
                approved_version=row.approved_version,
                approved_at=row.approved_at,
                approved_by=row.approved_by,
                tolerated=list(row.tolerated),
                is_disabled=row.is_disabled,
            )
            self._entries[row.id] = (row, before, entry_mark(row))

    def change(self, row: MCPChange) -> None:
        """Remember a change before it is decided."""
        if row.id not in self._changes:
            before = ChangeBefore(row.id, row.status, row.decided_at, row.decided_by, row.comment)
            self._changes[row.id] = (row, before, change_mark(row))

    def alert(self, alert_id: str, status: str) -> None:
        """Remember an alert before it is resolved."""
        self._alerts.append(AlertBefore(alert_id, status))

    def kept(self) -> Kept | None:
        """What was changed, before and after; None when nothing was, or too much."""
        entries = [(row, before) for row, before, mark in self._entries.values() if entry_mark(row) != mark]
        changes = [(row, before) for row, before, mark in self._changes.values() if change_mark(row) != mark]
        if not (entries or changes) or len(entries) > MAX_ENTRIES:
            return None
        return Kept(
            entries=[before for _, before in entries],
            entries_after={row.id: entry_mark(row) for row, _ in entries},
            changes=[before for _, before in changes],
            changes_after={row.id: change_mark(row) for row, _ in changes},
            alerts=self._alerts,
        )


def entry_mark(row: MCPEntry) -> str:
    """What must still be so for a decision about the entry to be taken back."""
    facts = (row.approved_hash, row.approved_version, row.is_disabled, row.tolerated, row.current_hash, row.is_missing)
    return msgspec.json.encode(facts).decode()


def change_mark(row: MCPChange) -> str:
    """What must still be so for the decision of the change to be taken back."""
    return msgspec.json.encode((row.status, row.decided_at, row.decided_by)).decode()
