"""Units of work about one server: in the proxy's turn, and told to workers and pages once they are committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.alerts.workflow import AlertStatus
from app.database.engine import Database
from app.fleet.control import Rollout
from app.fleet.models import Proxy
from app.http.events import EventBus
from app.security.permissions import Actor
from app.tools.errors import ChangeNotFound, ReviewOutdated, ToolNotFound
from app.tools.events import publish
from app.tools.memory import Memory
from app.tools.models import MCPChange, MCPEntry
from app.tools.repository import ToolRepository
from app.tools.schemas import Decide
from app.tools.service import mcp_proxy
from app.tools.states import Status
from app.tools.turns import Turns
from app.tools.undos import Undos


class Work(msgspec.Struct):
    """One unit of work about one proxy."""

    session: AsyncSession
    repository: ToolRepository
    proxy: Proxy
    actor: Actor
    now: datetime
    memory: Memory
    """How everything was before, for whoever takes the decision back."""
    open_changes: dict[str, list[MCPChange]] = {}
    """By entry what was read ahead, for decisions about many (`read_ahead`)."""
    settled: list[str] = []
    """Changes that were decided: their alerts are dealt with."""
    reopened: list[dict[str, Any]] = []
    """Alerts that are open again, as they are told to pages."""

    async def read_ahead(self, rows: Sequence[MCPEntry]) -> None:
        """Read the open changes of these entries at once, and not one by one."""
        for start in range(0, len(rows), 500):
            ids = [row.id for row in rows[start : start + 500]]
            self.open_changes |= {entry_id: [] for entry_id in ids}
            for change in await self.repository.changes_of(ids, Status.OPEN):
                self.open_changes[change.entry_id].append(change)

    async def open_changes_of(self, row: MCPEntry) -> list[MCPChange]:
        """The open changes of an entry, oldest first."""
        known = self.open_changes.get(row.id)
        return await self.repository.changes_of([row.id], Status.OPEN) if known is None else known


class Works:
    """Opens units of work."""

    def __init__(self, *, database: Database, bus: EventBus, rollout: Rollout, turns: Turns) -> None:
        self._database = database
        self._bus = bus
        self._rollout = rollout
        self._turns = turns

    @asynccontextmanager
    async def of_proxy(self, actor: Actor, proxy_id: str, *, is_undo: bool = False) -> AsyncIterator[Work]:
        """Work about any entries of a proxy; what taking it back needs is kept unless it is that itself."""
        async with self._turns.of(proxy_id), self._database.writer() as session:
            proxy = await mcp_proxy(session, actor, proxy_id)
            repository = ToolRepository(session, actor.tenant_id)
            work = Work(session, repository, proxy, actor, clock.utcnow(), Memory())
            yield work
            await session.flush()
            alerts = await _resolve_alerts(work) if work.settled else []
            if not is_undo:
                await Undos(session, actor.tenant_id).keep(work.memory, proxy_id, actor.user_id, work.now)
        await self._rollout.roll_out()
        for view in (*alerts, *work.reopened):
            self._bus.publish("alert", view)
        publish(self._bus, proxy_id)

    @asynccontextmanager
    async def of_entry(self, actor: Actor, entry_id: str) -> AsyncIterator[tuple[Work, MCPEntry]]:
        """Work about one entry; raises ToolNotFound."""
        async with self._database.reader() as session:
            found = await ToolRepository(session, actor.tenant_id).entry(entry_id)
        if found is None:
            raise ToolNotFound
        async with self.of_proxy(actor, found.proxy_id) as work:
            row = await work.repository.entry(entry_id)
            if row is None:
                raise ToolNotFound
            work.memory.entry(row)
            yield work, row

    @asynccontextmanager
    async def of_change(
        self, actor: Actor, change_id: str, wanted: Decide, proxy_id: str = ""
    ) -> AsyncIterator[tuple[Work, MCPEntry, MCPChange]]:
        """Work about one change as it was seen; raises ChangeNotFound or ReviewOutdated."""
        async with self._database.reader() as session:
            found = await ToolRepository(session, actor.tenant_id).change(change_id)
        if found is None or proxy_id not in ("", found.proxy_id):
            raise ChangeNotFound
        async with self.of_proxy(actor, found.proxy_id) as work:
            change = await work.repository.change(change_id)
            row = await work.repository.entry(found.entry_id)
            if change is None or row is None:
                raise ChangeNotFound
            if wanted.h_raw != (change.after_hash or change.before_hash):
                raise ReviewOutdated
            work.memory.entry(row)
            yield work, row, change


async def _resolve_alerts(work: Work) -> list[dict[str, Any]]:
    """Whoever decides about a change has dealt with its alert."""
    rows = await AlertRepository(work.session, work.actor.tenant_id).of_calls(work.settled)
    changed = [row for row in rows if row.status in (AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED)]
    for row in changed:
        work.memory.alert(row.id, row.status)
        row.status = AlertStatus.RESOLVED.value
        row.resolved_by = work.actor.username
        row.updated_at = work.now
    return [msgspec.to_builtins(alert_view(row)) for row in changed]
