"""What people decide about tools. Every decision is bound to the definition that was seen, is committed with its audit entry
and its place in the history, and reaches the workers with the snapshot that follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.access.errors import KeyNotFound
from app.access.repository import ApiKeyRepository
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import AppError
from app.security.permissions import Actor
from app.tools.applying import approve, refresh_state
from app.tools.errors import (
    ChangeDecided,
    ChangeNotFound,
    DecisionStands,
    NotApprovable,
    ReviewOutdated,
    ToolNotFound,
    VersionNotFound,
)
from app.tools.models import MCPChange, MCPEntry, MCPOverride
from app.tools.repository import ToolRepository
from app.tools.schemas import (
    ApproveEntries,
    BulkOutcome,
    ChangeView,
    Decide,
    DecideChanges,
    EntryView,
    OverrideView,
    RevertTo,
    SetTool,
    SetTools,
    UndoneView,
    UndoView,
)
from app.tools.service import mcp_proxy, tool_row, tool_rows
from app.tools.states import Risk, State, Status
from app.tools.undoing import put_back
from app.tools.undos import Undos, undo_view
from app.tools.views import change_view, entry_view, is_clean
from app.tools.work import Work, Works
from rules.pinning.canonical import sha256

RESOURCE = "mcp_tool"
Verb = Literal["enabled", "disabled", "approved", "rejected", "reverted"]


class PendingEntries(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries of a server wait, and digests of their definitions."""

    total: int
    clean: int
    risky: int
    """Clean ones of the high risk class."""
    clean_digest: str
    all_digest: str


class ToolDecisions:
    """Approve, reject, revert, enable, disable, and take such a decision back."""

    def __init__(self, *, database: Database, audit: AuditLog, works: Works) -> None:
        self._database = database
        self._audit = audit
        self._works = works

    # --- Tools --------------------------------------------------------------------------------------------------------

    async def set_tool(self, actor: Actor, proxy_id: str, tool: str, wanted: SetTool) -> EntryView:
        """Enable or disable a tool (by name or id); raises ToolNotFound, ReviewOutdated or NotApprovable."""
        async with self._works.of_proxy(actor, proxy_id) as work:
            row = await tool_row(work.repository, proxy_id, tool)
            if wanted.enabled and wanted.h_raw and wanted.h_raw != row.current_hash:
                raise ReviewOutdated
            verb = await self._set(work, row, enabled=wanted.enabled, comment=wanted.comment)
            if verb:
                await self._record(work, row, verb, wanted.comment)
        return entry_view(row, work.proxy.name)

    async def set_tools(self, actor: Actor, proxy_id: str, wanted: SetTools) -> BulkOutcome:
        """Enable or disable tools by name; what cannot be is left out and told."""
        skipped: dict[str, str] = {}
        changed: list[MCPEntry] = []
        async with self._works.of_proxy(actor, proxy_id) as work:
            rows = await tool_rows(work.repository, proxy_id, wanted.tool_names)
            await work.read_ahead(list(rows.values()))
            for name in dict.fromkeys(wanted.tool_names):
                try:
                    row = rows.get(name)
                    if row is None:
                        raise ToolNotFound
                    if await self._set(work, row, enabled=wanted.enabled, comment=wanted.comment):
                        changed.append(row)
                except AppError as error:
                    skipped[name] = error.message
            if changed:
                await self._record_many(work, changed, {"enabled": wanted.enabled})
        return BulkOutcome(changed=len(changed), skipped=skipped)

    async def approve_entries(self, actor: Actor, proxy_id: str, wanted: ApproveEntries) -> BulkOutcome:
        """Approve what was seen; what has changed since is left out and told."""
        skipped: dict[str, str] = {}
        changed: list[MCPEntry] = []
        async with self._works.of_proxy(actor, proxy_id) as work:
            rows = {row.id: row for row in await work.repository.entries_by_id([seen.id for seen in wanted.entries])}
            await work.read_ahead(list(rows.values()))
            for seen in wanted.entries:
                row = rows.get(seen.id)
                if row is None or row.proxy_id != proxy_id:
                    skipped[seen.id] = ToolNotFound.default_message
                elif row.current_hash != seen.h_raw or row.is_missing:
                    skipped[row.name] = ReviewOutdated.default_message
                else:
                    try:
                        await self._approve(work, row, wanted.comment)
                        changed.append(row)
                    except AppError as error:
                        skipped[row.name] = error.message
            if changed:
                await self._record_many(work, changed, {"approved": True})
        return BulkOutcome(changed=len(changed), skipped=skipped)

    async def set_entry(self, actor: Actor, entry_id: str, wanted: SetTool) -> EntryView:
        """Enable or disable any entry, as `set_tool` does."""
        async with self._works.of_entry(actor, entry_id) as (work, row):
            if wanted.enabled and wanted.h_raw != row.current_hash:
                raise ReviewOutdated
            verb = await self._set(work, row, enabled=wanted.enabled, comment=wanted.comment)
            if verb:
                await self._record(work, row, verb, wanted.comment)
        return entry_view(row, work.proxy.name)

    async def pending(self, actor: Actor, proxy_id: str) -> PendingEntries:
        """What of a server waits, and what an approval of all of it is bound to."""
        async with self._database.reader() as session:
            await mcp_proxy(session, actor, proxy_id)
            rows = await _pending(ToolRepository(session, actor.tenant_id), proxy_id)
        clean = [row for row in rows if is_clean(row)]
        return PendingEntries(
            total=len(rows),
            clean=len(clean),
            risky=sum(row.risk == Risk.HIGH for row in clean),
            clean_digest=_digest(clean),
            all_digest=_digest(rows),
        )

    async def approve_pending(self, actor: Actor, proxy_id: str, *, digest: str, only_clean: bool) -> int:
        """Approve everything of a server that waits, or what is clean of it; raises ReviewOutdated unless it is what was
        seen. Returns how many were approved: what cannot be pinned is left out."""
        approved: list[MCPEntry] = []
        async with self._works.of_proxy(actor, proxy_id) as work:
            rows = await _pending(work.repository, proxy_id)
            rows = [row for row in rows if is_clean(row)] if only_clean else rows
            if _digest(rows) != digest:
                raise ReviewOutdated
            full = await work.repository.entries_of(proxy_id, [(row.kind, row.name) for row in rows])
            await work.read_ahead(full)
            for row in full:
                if not row.is_blocked:
                    await self._approve(work, row, "")
                    approved.append(row)
            if approved:
                await self._record_many(work, approved, {"approved": True, "only_clean": only_clean})
        return len(approved)

    async def revert_entry(self, actor: Actor, entry_id: str, wanted: RevertTo) -> EntryView:
        """Put an older approved version back as the baseline; raises ToolNotFound or VersionNotFound."""
        async with self._works.of_entry(actor, entry_id) as (work, row):
            version = await work.repository.version(entry_id, wanted.version)
            if version is None:
                raise VersionNotFound
            approve(
                work.repository,
                row,
                decision="reverted",
                by=actor.username,
                now=work.now,
                comment=wanted.comment or f"Back to version {version.version}.",
                document=(version.h_raw, version.document, list(version.findings)),
            )
            await self._record(work, row, "reverted", wanted.comment, {"to_version": version.version})
        return entry_view(row, work.proxy.name)

    # --- Changes ------------------------------------------------------------------------------------------------------

    async def approve_change(self, actor: Actor, change_id: str, wanted: Decide, *, proxy_id: str = "") -> ChangeView:
        """Make the new definition the baseline, or forget what is gone. `proxy_id`, where given, must be its server's.

        Raises ChangeNotFound, ReviewOutdated, ChangeDecided or NotApprovable.
        """
        async with self._works.of_change(actor, change_id, wanted, proxy_id) as (work, row, change):
            await self._approve_change(work, row, change, wanted.comment)
            await self._record(work, row, "approved", wanted.comment, _facts(change))
        return change_view(change, work.proxy.name)

    async def reject_change(self, actor: Actor, change_id: str, wanted: Decide, *, proxy_id: str = "") -> ChangeView:
        """Keep what was approved: the new definition stays out. Raises as `approve_change`."""
        async with self._works.of_change(actor, change_id, wanted, proxy_id) as (work, row, change):
            self._reject_change(work, row, change, wanted.comment)
            await self._record(work, row, "rejected", wanted.comment, _facts(change))
        return change_view(change, work.proxy.name)

    async def decide_changes(
        self, actor: Actor, proxy_id: str, wanted: DecideChanges, *, approves: bool
    ) -> BulkOutcome:
        """Approve or reject changes of one server together, as they were seen; what has changed since is left out and told."""
        skipped: dict[str, str] = {}
        changed: list[MCPEntry] = []
        async with self._works.of_proxy(actor, proxy_id) as work:
            changes = {one.id: one for one in await work.repository.changes_by_id([one.id for one in wanted.changes])}
            ids = [one.entry_id for one in changes.values() if one.proxy_id == proxy_id]
            rows = {row.id: row for row in await work.repository.entries_by_id(ids)}
            await work.read_ahead(list(rows.values()))
            for seen in wanted.changes:
                change = changes.get(seen.id)
                row = rows.get(change.entry_id) if change is not None else None
                try:
                    if change is None or row is None:
                        raise ChangeNotFound
                    if seen.h_raw != (change.after_hash or change.before_hash):
                        raise ReviewOutdated
                    work.memory.entry(row)
                    if approves:
                        await self._approve_change(work, row, change, wanted.comment)
                    else:
                        self._reject_change(work, row, change, wanted.comment)
                    changed.append(row)
                except AppError as error:
                    skipped[(row.name if row is not None else "") or seen.id] = error.message
            if changed:
                details = {"changes": "approved" if approves else "rejected"}
                await self._record_many(
                    work, changed, details | ({"comment": wanted.comment[:500]} if wanted.comment else {})
                )
        return BulkOutcome(changed=len(changed), skipped=skipped)

    async def revert_change(self, actor: Actor, change_id: str, wanted: Decide, *, proxy_id: str = "") -> ChangeView:
        """Take an approval back: what was approved before is the baseline again. Raises as `approve_change`."""
        async with self._works.of_change(actor, change_id, wanted, proxy_id) as (work, row, change):
            if change.status not in (Status.APPROVED, Status.TOLERATED) or not change.after_hash:
                raise ChangeDecided("Only a change that is in force can be reverted.")
            row.tolerated = [one for one in row.tolerated if one != change.after_hash]
            if change.status == Status.APPROVED:
                if row.approved_hash != change.after_hash:
                    raise ChangeDecided(
                        "A later version is approved.", remediation="Revert on the page of the entry instead."
                    )
                await self._back(work, row, change, wanted.comment)
            refresh_state(row)
            self._decide(work, change, Status.REVERTED, wanted.comment)
            await self._record(work, row, "reverted", wanted.comment, _facts(change))
        return change_view(change, work.proxy.name)

    # --- Taking back --------------------------------------------------------------------------------------------------

    async def undoable(self, actor: Actor, proxy_id: str = "") -> list[UndoView]:
        """The decisions of this person that can still be taken back, the latest first."""
        async with self._database.reader() as session:
            rows = await Undos(session, actor.tenant_id).of_actor(actor.user_id, proxy_id)
        return [undo_view(row) for row in rows]

    async def undo(self, actor: Actor, undo_id: str) -> UndoneView:
        """Put everything back as it was before a decision of one's own; raises DecisionStands or UndoOutdated."""
        async with self._database.reader() as session:
            found = await Undos(session, actor.tenant_id).get(undo_id, actor.user_id)
        if found is None:
            raise DecisionStands
        async with self._works.of_proxy(actor, found.proxy_id, is_undo=True) as work:
            undos = Undos(work.session, actor.tenant_id)
            row = await undos.get(undo_id, actor.user_id)
            if row is None:
                raise DecisionStands
            names = await put_back(work, row)
            await undos.delete(row)
            await self._audit.record(
                work.session,
                "mcp.tool.undone",
                actor=actor,
                resource=("proxy", work.proxy.id, work.proxy.name),
                details={"decided_at": row.made_at.isoformat(), "count": len(names), "names": names[:30]},
            )
        return UndoneView(proxy_id=found.proxy_id, count=len(names), names=names[:100])

    # --- Keys ---------------------------------------------------------------------------------------------------------

    async def override(
        self, actor: Actor, proxy_id: str, tool: str, key_id: str, enabled: bool | None
    ) -> OverrideView | None:
        """Say, or with None no longer say, what one key may do with a tool; raises ToolNotFound or KeyNotFound."""
        async with self._works.of_proxy(actor, proxy_id) as work:
            row = await tool_row(work.repository, proxy_id, tool)
            key = await ApiKeyRepository(work.session, actor.tenant_id).get(key_id)
            if key is None:
                raise KeyNotFound
            known = await work.repository.override(row.id, key_id)
            if enabled is None:
                if known is not None:
                    await work.repository.delete_override(known)
            elif known is not None:
                known.enabled, known.set_at, known.set_by = enabled, work.now, actor.username
            else:
                known = MCPOverride(
                    entry_id=row.id,
                    key_id=key_id,
                    proxy_id=proxy_id,
                    enabled=enabled,
                    set_at=work.now,
                    set_by=actor.username,
                )
                work.repository.add(known)
            await self._audit.record(
                work.session,
                "mcp.tool.override.removed" if enabled is None else "mcp.tool.override.set",
                actor=actor,
                resource=(RESOURCE, row.id, row.name),
                details={"proxy_id": proxy_id, "key_id": key_id, "key": key.name, "enabled": enabled},
            )
        if enabled is None:
            return None
        return OverrideView(key_id=key_id, tool=row.name, enabled=enabled, set_at=work.now, set_by=actor.username)

    # --- Parts --------------------------------------------------------------------------------------------------------

    async def _approve_change(self, work: Work, row: MCPEntry, change: MCPChange, comment: str) -> None:
        if change.status not in (Status.OPEN, Status.REJECTED, Status.REVERTED):
            raise ChangeDecided(f"The change is {change.status}.")
        if not change.after_hash:
            if not row.is_missing:
                raise ReviewOutdated("The server declares it again.")
            row.approved_hash, row.approved_document, row.tolerated = "", None, []
            refresh_state(row)
        elif row.current_hash != change.after_hash or row.is_missing:
            raise ReviewOutdated
        else:
            await self._approve(work, row, comment, change)
        self._decide(work, change, Status.APPROVED, comment)

    def _reject_change(self, work: Work, row: MCPEntry, change: MCPChange, comment: str) -> None:
        if change.status not in (Status.OPEN, Status.TOLERATED):
            raise ChangeDecided(f"The change is {change.status}.")
        row.tolerated = [one for one in row.tolerated if one != change.after_hash]
        if change.after_hash and not change.before_hash and not row.approved_hash:
            row.is_disabled = True
        refresh_state(row)
        self._decide(work, change, Status.REJECTED, comment)

    async def _set(self, work: Work, row: MCPEntry, *, enabled: bool, comment: str) -> Verb | None:
        """Enable or disable; None where nothing changes."""
        work.memory.entry(row)
        if not enabled:
            if row.is_disabled:
                return None
            row.is_disabled = True
            row.changed_at = work.now
            for change in await work.open_changes_of(row):
                if not change.before_hash:
                    self._decide(work, change, Status.REJECTED, comment)
            refresh_state(row)
            return "disabled"
        if row.state == State.APPROVED:
            return None
        if row.state == State.MISSING:
            raise ReviewOutdated("The server no longer declares it.")
        was_disabled, row.is_disabled = row.is_disabled, False
        refresh_state(row)
        if row.state == State.APPROVED:
            row.changed_at = work.now
            return "enabled"
        row.is_disabled = was_disabled
        await self._approve(work, row, comment)
        return "enabled"

    async def _approve(self, work: Work, row: MCPEntry, comment: str, change: MCPChange | None = None) -> None:
        """Approve what is served now, and settle every open change of the entry."""
        work.memory.entry(row)
        if row.is_blocked:
            raise NotApprovable
        row.is_disabled = False if change is None or not change.before_hash else row.is_disabled
        open_changes = await work.open_changes_of(row)
        if change is None:
            change = next((one for one in open_changes if one.after_hash == row.current_hash), None)
        approve(
            work.repository,
            row,
            decision="approved",
            by=work.actor.username,
            now=work.now,
            comment=comment,
            change_id=change.id if change else "",
        )
        for one in open_changes:
            is_meant = one.after_hash == row.current_hash
            self._decide(work, one, Status.APPROVED if is_meant else Status.SUPERSEDED, comment if is_meant else "")

    async def _back(self, work: Work, row: MCPEntry, change: MCPChange, comment: str) -> None:
        """Make what a change departed from the baseline again."""
        if not change.before_hash or change.before_document is None:
            row.approved_hash, row.approved_document, row.tolerated = "", None, []
            row.is_disabled = True
            return
        versions = await work.repository.versions(row.id)
        number = next((one.version for one in versions if one.h_raw == change.before_hash), 0)
        version = await work.repository.version(row.id, number)
        approve(
            work.repository,
            row,
            decision="reverted",
            by=work.actor.username,
            now=work.now,
            comment=comment or f"Back to version {number}.",
            change_id=change.id,
            document=(change.before_hash, change.before_document, list(version.findings) if version else []),
        )

    def _decide(self, work: Work, change: MCPChange, status: Status, comment: str) -> None:
        work.memory.change(change)
        change.status = status.value
        change.decided_at, change.decided_by = work.now, work.actor.username
        change.comment = comment or change.comment
        work.settled.append(change.id)

    async def _record(
        self, work: Work, row: MCPEntry, verb: str, comment: str, details: dict[str, Any] | None = None
    ) -> None:
        shown = {"proxy": work.proxy.name, "kind": row.kind, "hash": row.approved_hash[:16], "state": row.state}
        await self._audit.record(
            work.session,
            f"mcp.tool.{verb}",
            actor=work.actor,
            resource=(RESOURCE, row.id, row.name or work.proxy.name),
            details={**shown, **(details or {}), **({"comment": comment[:500]} if comment else {})},
        )

    async def _record_many(self, work: Work, rows: Sequence[MCPEntry], details: dict[str, Any]) -> None:
        await self._audit.record(
            work.session,
            "mcp.tool.bulk.updated",
            actor=work.actor,
            resource=("proxy", work.proxy.id, work.proxy.name),
            details={**details, "count": len(rows), "names": [row.name[:100] for row in rows][:30]},
        )


async def _pending(repository: ToolRepository, proxy_id: str) -> list[MCPEntry]:
    return [row for row in await repository.entries_of(proxy_id) if row.state == State.PENDING]


def _digest(rows: Sequence[MCPEntry]) -> str:
    """What an approval of these definitions together is bound to."""
    return sha256(json.dumps(sorted([row.id, row.current_hash] for row in rows)).encode())


def _facts(change: MCPChange) -> dict[str, Any]:
    return {"change_id": change.id, "code": change.code, "severity": change.severity}
