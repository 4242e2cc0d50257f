"""Writes a judgement into the rows: entries, changes and approvals, in the caller's unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import ids
from app.fleet.models import Proxy
from app.tools.findings import EntryFinding, as_rows
from app.tools.judgement import MAX_TOLERATED, ChangeDraft, EntryJudgement, Judgement, Key, reason_row
from app.tools.models import MCPChange, MCPEntry, MCPVersion
from app.tools.repository import ToolRepository, ids_of, name_key
from app.tools.states import State, Status, state_of
from rules.pinning.visible import visible

BY_THE_GATEWAY = "Ostiary"
DECISION_COMMENTS = {
    "first": "First description of the server.",
    "auto_approved": "Approved by the settings of the proxy.",
}


class Applied(msgspec.Struct):
    """What was written."""

    discovered: list[MCPEntry] = []
    approved: list[MCPEntry] = []
    to_review: list[MCPEntry] = []
    """New entries that wait for a person and are no change of a server that was known."""
    changes: list[MCPChange] = []
    """Changes that are new, or open again."""


class Applier:
    """Writes one judgement about one proxy."""

    def __init__(
        self, session: AsyncSession, repository: ToolRepository, proxy: Proxy, trigger: str, now: datetime
    ) -> None:
        self._session = session
        self._repository = repository
        self._proxy = proxy
        self._trigger = trigger
        self._now = now

    async def apply(self, judgement: Judgement) -> Applied:
        """Write everything; rows that were never approved and are gone are deleted."""
        applied = Applied()
        keys = [entry.key for entry in judgement.entries]
        rows: dict[Key, MCPEntry] = {
            (row.kind, row.name): row for row in await self._repository.entries_of(self._proxy.id, keys)
        }
        earlier = await self._earlier_changes(list(rows.values()))
        gone: list[str] = []
        for outcome in judgement.entries:
            if outcome.key not in rows and outcome.sighting is not None:
                rows[outcome.key] = self._new_row(outcome)
                applied.discovered.append(rows[outcome.key])
        await self._session.flush()  # Before what refers to them.
        for outcome in judgement.entries:
            row = rows.get(outcome.key)
            if row is None:
                continue
            if (
                outcome.sighting is None
                and not outcome.loses_approval
                and not row.approved_hash
                and not row.is_disabled
            ):
                gone.append(row.id)
                continue
            self._write(row, outcome, earlier.get(row.id, []), applied)
            if row.state == State.PENDING and outcome.change is None and outcome.is_new:
                applied.to_review.append(row)
        if gone:
            await self._repository.delete_entries(gone)
        await self._session.flush()
        return applied

    def _new_row(self, outcome: EntryJudgement) -> MCPEntry:
        kind, name = outcome.key
        row = MCPEntry(
            id=ids.new_id("ent"),
            proxy_id=self._proxy.id,
            kind=kind,
            name=name,
            name_key=name_key(name),
            state=State.PENDING,
            is_disabled=False,
            is_missing=False,
            is_blocked=False,
            approved_hash="",
            approved_document=None,
            approved_findings=[],
            approved_version=0,
            approved_by="",
            tolerated=[],
            current_hash="",
            current_sem="",
            current_document=b"",
            title="",
            capabilities=[],
            risk="none",
            findings=[],
            reasons=[],
            first_seen_at=self._now,
            last_seen_at=self._now,
            changed_at=self._now,
        )
        self._repository.add(row)
        return row

    def _write(self, row: MCPEntry, outcome: EntryJudgement, earlier: Sequence[MCPChange], applied: Applied) -> None:
        before = row.state
        if outcome.loses_approval:
            row.approved_hash, row.approved_document, row.tolerated = "", None, []
            row.approved_findings = []
            _close(earlier, Status.SUPERSEDED, self._now)
        elif outcome.sighting is None:
            row.is_missing = True
        if outcome.sighting is not None:
            self._take(row, outcome)
        if outcome.is_back:
            _close([one for one in earlier if one.status == Status.OPEN], Status.WITHDRAWN, self._now)
        change = self._change(row, outcome.change, outcome.findings, earlier) if outcome.change else None
        if change is not None:
            applied.changes.append(change)
        if outcome.approval:
            approve(
                self._repository,
                row,
                decision=outcome.approval,
                by=BY_THE_GATEWAY,
                now=self._now,
                comment=DECISION_COMMENTS[outcome.approval],
                change_id=change.id if change else "",
            )
            applied.approved.append(row)
        refresh_state(row)
        if row.state != before:
            row.changed_at = self._now

    def _take(self, row: MCPEntry, outcome: EntryJudgement) -> None:
        """What is served now."""
        sighting = outcome.sighting
        assert sighting is not None
        row.is_missing = False
        row.is_blocked = sighting.is_blocked
        row.last_seen_at = self._now
        if row.current_hash != sighting.h_raw:
            row.changed_at = self._now
        row.current_hash = sighting.h_raw
        row.current_document = sighting.document
        row.current_sem = outcome.h_sem
        row.title = outcome.title
        row.capabilities = list(outcome.capabilities)
        row.risk = outcome.risk.value
        row.findings = as_rows(outcome.findings)
        row.reasons = [dict(reason) for reason in outcome.reasons]
        if outcome.tolerates and sighting.h_raw not in row.tolerated and sighting.h_raw != row.approved_hash:
            row.tolerated = [*row.tolerated, sighting.h_raw][-MAX_TOLERATED:]

    def _change(
        self, row: MCPEntry, draft: ChangeDraft, findings: Sequence[EntryFinding], earlier: Sequence[MCPChange]
    ) -> MCPChange | None:
        """The new change; None where the same one was decided against, or stands open already."""
        for known in reversed(earlier):
            if (known.before_hash, known.after_hash) != (draft.before_hash, draft.after_hash):
                continue
            if known.status in (Status.REJECTED, Status.REVERTED, Status.OPEN):
                return None
            if known.status in (Status.WITHDRAWN, Status.SUPERSEDED):
                known.status = Status.OPEN
                known.detected_at, known.decided_at = self._now, None
                return known
        _close([one for one in earlier if one.status == Status.OPEN], Status.SUPERSEDED, self._now)
        change = MCPChange(
            id=ids.new_id("chg"),
            proxy_id=self._proxy.id,
            entry_id=row.id,
            kind=row.kind,
            name=row.name,
            code=draft.code,
            severity=draft.severity.word,
            status=draft.status,
            reasons=[reason_row(reason) for reason in draft.reasons],
            findings=as_rows(findings),
            similarity=draft.similarity,
            renamed_from=visible(draft.renamed_from, 300),
            before_hash=draft.before_hash,
            after_hash=draft.after_hash,
            before_document=draft.before_document,
            after_document=draft.after_document,
            version=row.approved_version,
            trigger=self._trigger,
            detected_at=self._now,
            decided_at=None if draft.status == "open" else self._now,
            decided_by="" if draft.status == "open" else BY_THE_GATEWAY,
            comment="",
        )
        self._repository.add(change)
        return change

    async def _earlier_changes(self, rows: Sequence[MCPEntry]) -> dict[str, list[MCPChange]]:
        """The changes of these entries that may be meant again, by entry."""
        found: dict[str, list[MCPChange]] = {}
        statuses = (Status.OPEN, Status.REJECTED, Status.REVERTED, Status.WITHDRAWN, Status.SUPERSEDED)
        entry_ids = ids_of(rows)
        for start in range(0, len(entry_ids), 500):
            for change in await self._repository.changes_of(entry_ids[start : start + 500], *statuses):
                found.setdefault(change.entry_id, []).append(change)
        return found


def approve(
    repository: ToolRepository,
    row: MCPEntry,
    *,
    decision: str,
    by: str,
    now: datetime,
    comment: str = "",
    change_id: str = "",
    document: tuple[str, bytes, list[str]] | None = None,
) -> None:
    """Make what is served now (or another hash, document and seen findings) the approved version, and remember it."""
    h_raw, content, findings = document or (
        row.current_hash,
        row.current_document,
        [str(finding["key"]) for finding in row.findings],
    )
    row.approved_hash, row.approved_document, row.approved_findings = h_raw, content, findings
    row.approved_version += 1
    row.approved_at, row.approved_by = now, by
    row.tolerated = []
    row.changed_at = now
    repository.add(
        MCPVersion(
            id=ids.new_id("ver"),
            proxy_id=row.proxy_id,
            entry_id=row.id,
            version=row.approved_version,
            decision=decision,
            h_raw=h_raw,
            document=content,
            findings=findings,
            change_id=change_id,
            approved_at=now,
            approved_by=by,
            comment=comment,
        )
    )
    refresh_state(row)


def refresh_state(row: MCPEntry) -> None:
    """Keep the state column what the others make of it."""
    row.state = state_of(
        approved_hash=row.approved_hash,
        tolerated=row.tolerated,
        current_hash=row.current_hash,
        is_disabled=row.is_disabled,
        is_missing=row.is_missing,
        is_blocked=row.is_blocked,
    ).value


def _close(changes: Sequence[MCPChange], status: Status, now: datetime) -> None:
    for change in changes:
        if change.status == Status.OPEN:
            change.status = status
            change.decided_at = now
            change.decided_by = BY_THE_GATEWAY
