"""Every query on what servers declare, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.database.base import DEFAULT_TENANT
from app.fleet.models import Proxy
from app.http.sorting import Sort, Sorts
from app.tools.judgement import Key
from app.tools.models import MCPChange, MCPEntry, MCPOverride, MCPServer, MCPVersion
from app.tools.states import Risk, State, Status
from rules.model import Severity
from rules.pinning.canonical import sha256

SEVERITY_RANK = case({severity.word: severity.value for severity in Severity}, value=MCPChange.severity)
RISK_RANK = case({risk.value: rank for rank, risk in enumerate(Risk)}, value=MCPEntry.risk)
STATE_RANK = case(
    {"changed": 0, "pending": 1, "disabled": 2, "approved": 3, "missing": 4}, value=MCPEntry.state, else_=5
)
ENTRY_SORTS = Sorts(
    {
        "name": MCPEntry.name,
        "state": STATE_RANK,
        "risk": RISK_RANK,
        "kind": MCPEntry.kind,
        "last_seen_at": MCPEntry.last_seen_at,
        "first_seen_at": MCPEntry.first_seen_at,
    },
    default="state",
    descending_first=frozenset({"risk", "last_seen_at", "first_seen_at"}),
)
CHANGE_SORTS = Sorts(
    {"detected_at": MCPChange.detected_at, "severity": SEVERITY_RANK, "name": MCPChange.name},
    default="-severity",
    descending_first=frozenset({"detected_at", "severity"}),
)
_DOCUMENTS = (
    undefer(MCPEntry.approved_document),
    undefer(MCPEntry.approved_findings),
    undefer(MCPEntry.current_document),
)


def name_key(name: str) -> str:
    """What a name is looked up by."""
    return sha256(name.encode("utf-8", "surrogatepass"))


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; empty fields do not restrict. `search` is found in names and descriptions."""

    proxy_id: str = ""
    kinds: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    risk: str = ""
    search: str = ""


class ChangeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes; empty fields do not restrict. `search` is found in names and codes."""

    proxy_id: str = ""
    entry_id: str = ""
    kind: str = ""
    statuses: tuple[str, ...] = ()
    severity: str = ""
    search: str = ""


class ToolRepository:
    """Servers, entries, changes, versions and overrides of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add(self, row: MCPServer | MCPEntry | MCPChange | MCPVersion | MCPOverride) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    # --- Servers ------------------------------------------------------------------------------------------------------

    async def server(self, proxy_id: str) -> MCPServer | None:
        """The server behind a proxy, once something is known of it."""
        found: MCPServer | None = await self._session.scalar(
            select(MCPServer).where(MCPServer.tenant_id == self._tenant_id, MCPServer.proxy_id == proxy_id)
        )
        return found

    async def servers(self) -> dict[str, MCPServer]:
        """Every server, by proxy."""
        rows = await self._session.scalars(select(MCPServer).where(MCPServer.tenant_id == self._tenant_id))
        return {row.proxy_id: row for row in rows}

    # --- Entries ------------------------------------------------------------------------------------------------------

    async def entries_of(self, proxy_id: str, keys: Collection[Key] | None = None) -> list[MCPEntry]:
        """All entries of a proxy without their documents, or those with these keys with their documents."""
        statement = select(MCPEntry).where(MCPEntry.tenant_id == self._tenant_id, MCPEntry.proxy_id == proxy_id)
        if keys is not None:
            wanted = set(keys)
            found: list[MCPEntry] = []
            names = sorted({name_key(name) for _, name in wanted})
            for start in range(0, len(names), 500):
                part = statement.where(MCPEntry.name_key.in_(names[start : start + 500])).options(*_DOCUMENTS)
                found += [row for row in await self._session.scalars(part) if (row.kind, row.name) in wanted]
            return found
        return list(await self._session.scalars(statement))

    async def server_entries(self) -> dict[str, MCPEntry]:
        """The entries of the servers themselves with their documents, by proxy."""
        statement = select(MCPEntry).where(MCPEntry.tenant_id == self._tenant_id, MCPEntry.kind == "server")
        return {row.proxy_id: row for row in await self._session.scalars(statement.options(*_DOCUMENTS))}

    async def entries_by_id(self, entry_ids: Sequence[str]) -> list[MCPEntry]:
        """These entries with their documents."""
        found: list[MCPEntry] = []
        for start in range(0, len(entry_ids), 500):
            wanted = MCPEntry.id.in_(entry_ids[start : start + 500])
            statement = select(MCPEntry).where(MCPEntry.tenant_id == self._tenant_id, wanted).options(*_DOCUMENTS)
            found += await self._session.scalars(statement)
        return found

    async def entry(self, entry_id: str) -> MCPEntry | None:
        """One entry with its documents."""
        return await self._entry(MCPEntry.id == entry_id)

    async def named(self, proxy_id: str, kind: str, name: str) -> MCPEntry | None:
        """The entry of a proxy with this kind and name, with its documents."""
        return await self._entry(
            MCPEntry.proxy_id == proxy_id, MCPEntry.kind == kind, MCPEntry.name_key == name_key(name)
        )

    async def page(
        self, wanted: EntryFilter, *, limit: int, offset: int, sort: Sort | None = None
    ) -> tuple[Sequence[MCPEntry], int]:
        """A page of entries, those that need somebody first unless sorted otherwise, and how many match."""
        conditions = self._entry_conditions(wanted)
        total = await self._session.scalar(select(func.count()).select_from(MCPEntry).where(*conditions))
        order = [*ENTRY_SORTS.clauses(sort), MCPEntry.name, MCPEntry.id]
        statement = select(MCPEntry).where(*conditions).order_by(*order).limit(limit).offset(offset)
        return (await self._session.scalars(statement)).all(), total or 0

    async def see(self, proxy_id: str, kinds: Collection[str], at: datetime) -> None:
        """Everything of these kinds that is not missing was seen again."""
        await self._session.execute(
            update(MCPEntry)
            .where(MCPEntry.proxy_id == proxy_id, MCPEntry.kind.in_(kinds), MCPEntry.is_missing.is_(False))
            .values(last_seen_at=at)
            .execution_options(synchronize_session=False)
        )

    async def tool_names(self, proxy_ids: Collection[str]) -> dict[str, list[str]]:
        """The names of the tools that are there, by proxy."""
        found: dict[str, list[str]] = {}
        statement = select(MCPEntry.proxy_id, MCPEntry.name).where(
            MCPEntry.tenant_id == self._tenant_id,
            MCPEntry.kind == "tool",
            MCPEntry.is_missing.is_(False),
            MCPEntry.proxy_id.in_(proxy_ids),
        )
        for proxy_id, name in await self._session.execute(statement):
            found.setdefault(proxy_id, []).append(name)
        return found

    async def counts(self) -> dict[str, dict[tuple[str, str], int]]:
        """By proxy how many entries there are by kind and state."""
        statement = (
            select(MCPEntry.proxy_id, MCPEntry.kind, MCPEntry.state, func.count())
            .where(MCPEntry.tenant_id == self._tenant_id)
            .group_by(MCPEntry.proxy_id, MCPEntry.kind, MCPEntry.state)
        )
        found: dict[str, dict[tuple[str, str], int]] = {}
        for proxy_id, kind, state, count in await self._session.execute(statement):
            found.setdefault(proxy_id, {})[kind, state] = count
        return found

    async def delete_entries(self, entry_ids: Collection[str]) -> None:
        """Delete entries with everything about them."""
        await self._session.execute(
            delete(MCPEntry).where(MCPEntry.id.in_(entry_ids)).execution_options(synchronize_session=False)
        )

    # --- Changes ------------------------------------------------------------------------------------------------------

    async def change(self, change_id: str) -> MCPChange | None:
        """One change with its documents."""
        found: MCPChange | None = await self._session.scalar(
            select(MCPChange)
            .where(MCPChange.tenant_id == self._tenant_id, MCPChange.id == change_id)
            .options(undefer(MCPChange.before_document), undefer(MCPChange.after_document))
        )
        return found

    async def changes_by_id(self, change_ids: Sequence[str]) -> list[MCPChange]:
        """These changes without their documents."""
        found: list[MCPChange] = []
        for start in range(0, len(change_ids), 500):
            wanted = MCPChange.id.in_(change_ids[start : start + 500])
            found += await self._session.scalars(
                select(MCPChange).where(MCPChange.tenant_id == self._tenant_id, wanted)
            )
        return found

    async def changes_of(self, entry_ids: Collection[str], *statuses: Status) -> list[MCPChange]:
        """The changes of these entries with one of these statuses, oldest first."""
        statement = select(MCPChange).where(MCPChange.entry_id.in_(entry_ids), MCPChange.status.in_(statuses))
        return list(await self._session.scalars(statement.order_by(MCPChange.detected_at, MCPChange.id)))

    async def changes(
        self, wanted: ChangeFilter, *, limit: int, offset: int = 0, sort: Sort | None = None
    ) -> tuple[Sequence[MCPChange], int]:
        """A page of changes, the worst first unless sorted otherwise, and how many match."""
        conditions = self._change_conditions(wanted)
        total = await self._session.scalar(select(func.count()).select_from(MCPChange).where(*conditions))
        statement = select(MCPChange).where(*conditions).order_by(*_change_order(sort)).limit(limit).offset(offset)
        return (await self._session.scalars(statement)).all(), total or 0

    async def change_ids(self, wanted: ChangeFilter, *, limit: int) -> Sequence[str]:
        """The ids of changes, in the order of `changes`."""
        statement = select(MCPChange.id).where(*self._change_conditions(wanted)).order_by(*_change_order(None))
        return (await self._session.scalars(statement.limit(limit))).all()

    async def holding(self, codes: Collection[str]) -> set[str]:
        """The proxies whose server itself has an open change for one of these reasons."""
        statement = select(MCPChange.proxy_id, MCPChange.reasons).where(
            MCPChange.tenant_id == self._tenant_id, MCPChange.kind == "server", MCPChange.status == Status.OPEN
        )
        return {
            proxy_id
            for proxy_id, reasons in await self._session.execute(statement)
            if any(reason["code"] in codes for reason in reasons)
        }

    async def open_reviews(self, *, most: int) -> int:
        """How many decisions wait: open changes, and servers with entries that were never looked at."""
        changes = select(MCPChange.id).where(
            MCPChange.tenant_id == self._tenant_id, MCPChange.status == Status.OPEN, _is_there(MCPChange.proxy_id)
        )
        count = await self._session.scalar(select(func.count()).select_from(changes.limit(most).subquery())) or 0
        return count + len(await self.unreviewed())

    async def unreviewed(self) -> dict[str, int]:
        """By proxy how many pending entries there are that no open change is about."""
        told = select(MCPChange.entry_id).where(MCPChange.tenant_id == self._tenant_id, MCPChange.status == Status.OPEN)
        statement = (
            select(MCPEntry.proxy_id, func.count())
            .where(
                MCPEntry.tenant_id == self._tenant_id,
                MCPEntry.state == State.PENDING,
                _is_there(MCPEntry.proxy_id),
                MCPEntry.id.not_in(told.scalar_subquery()),
            )
            .group_by(MCPEntry.proxy_id)
        )
        return {str(proxy_id): int(count) for proxy_id, count in await self._session.execute(statement)}

    async def prune_changes(self, proxy_id: str, *, keep: int) -> None:
        """Delete the oldest changes of a proxy that need no decision, beyond `keep`."""
        surplus = (
            select(MCPChange.id)
            .where(MCPChange.proxy_id == proxy_id, MCPChange.status != Status.OPEN)
            .order_by(MCPChange.detected_at.desc(), MCPChange.id.desc())
            .offset(keep)
            .limit(1_000)
        )
        await self._session.execute(
            delete(MCPChange)
            .where(MCPChange.id.in_(surplus.scalar_subquery()))
            .execution_options(synchronize_session=False)
        )

    # --- Versions and overrides ---------------------------------------------------------------------------------------

    async def versions(self, entry_id: str) -> Sequence[MCPVersion]:
        """The approvals of an entry, newest first."""
        statement = select(MCPVersion).where(MCPVersion.tenant_id == self._tenant_id, MCPVersion.entry_id == entry_id)
        return (await self._session.scalars(statement.order_by(MCPVersion.version.desc()))).all()

    async def version(self, entry_id: str, number: int) -> MCPVersion | None:
        """One approval with its document."""
        found: MCPVersion | None = await self._session.scalar(
            select(MCPVersion)
            .where(
                MCPVersion.tenant_id == self._tenant_id,
                MCPVersion.entry_id == entry_id,
                MCPVersion.version == number,
            )
            .options(undefer(MCPVersion.document), undefer(MCPVersion.findings))
        )
        return found

    async def overrides(self, proxy_id: str = "", entry_id: str = "") -> Sequence[MCPOverride]:
        """Overrides of one proxy or entry, or all."""
        statement = select(MCPOverride).where(MCPOverride.tenant_id == self._tenant_id)
        if proxy_id:
            statement = statement.where(MCPOverride.proxy_id == proxy_id)
        if entry_id:
            statement = statement.where(MCPOverride.entry_id == entry_id)
        return (await self._session.scalars(statement.order_by(MCPOverride.set_at, MCPOverride.key_id))).all()

    async def override(self, entry_id: str, key_id: str) -> MCPOverride | None:
        """What is said about an entry and a key."""
        found: MCPOverride | None = await self._session.scalar(
            select(MCPOverride).where(
                MCPOverride.tenant_id == self._tenant_id,
                MCPOverride.entry_id == entry_id,
                MCPOverride.key_id == key_id,
            )
        )
        return found

    async def delete_override(self, row: MCPOverride) -> None:
        """Delete with the unit of work."""
        await self._session.delete(row)

    # --- Parts --------------------------------------------------------------------------------------------------------

    async def _entry(self, *conditions: ColumnElement[bool]) -> MCPEntry | None:
        statement = select(MCPEntry).where(MCPEntry.tenant_id == self._tenant_id, *conditions).options(*_DOCUMENTS)
        found: MCPEntry | None = await self._session.scalar(statement)
        return found

    def _entry_conditions(self, wanted: EntryFilter) -> list[ColumnElement[bool]]:
        conditions = [MCPEntry.tenant_id == self._tenant_id, _is_there(MCPEntry.proxy_id)]
        conditions += _equal((MCPEntry.proxy_id, wanted.proxy_id), (MCPEntry.risk, wanted.risk))
        if wanted.kinds:
            conditions.append(MCPEntry.kind.in_(wanted.kinds))
        if wanted.states:
            conditions.append(MCPEntry.state.in_(wanted.states))
        if wanted.search:
            conditions.append(_contains(wanted.search, MCPEntry.name, MCPEntry.title, MCPEntry.id))
        return conditions

    def _change_conditions(self, wanted: ChangeFilter) -> list[ColumnElement[bool]]:
        conditions = [MCPChange.tenant_id == self._tenant_id, _is_there(MCPChange.proxy_id)]
        conditions += _equal(
            (MCPChange.proxy_id, wanted.proxy_id),
            (MCPChange.entry_id, wanted.entry_id),
            (MCPChange.kind, wanted.kind),
            (MCPChange.severity, wanted.severity),
        )
        if wanted.statuses:
            conditions.append(MCPChange.status.in_(wanted.statuses))
        if wanted.search:
            conditions.append(_contains(wanted.search, MCPChange.name, MCPChange.code, MCPChange.id))
        return conditions


def _is_there(proxy_id: Any) -> ColumnElement[bool]:
    """Whether the proxy is not one that was deleted and may yet be restored."""
    deleted = select(Proxy.id).where(Proxy.deleted_at.is_not(None))
    condition: ColumnElement[bool] = proxy_id.not_in(deleted.scalar_subquery())
    return condition


def _change_order(sort: Sort | None) -> list[ColumnElement[Any]]:
    return [*CHANGE_SORTS.clauses(sort), MCPChange.detected_at.desc(), MCPChange.id.desc()]


def _equal(*pairs: tuple[Any, str]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in pairs if value]


def _contains(text: str, *columns: Any) -> ColumnElement[bool]:
    return or_(*(func.lower(column).contains(text.lower(), autoescape=True) for column in columns))


def ids_of(rows: Iterable[MCPEntry | MCPChange]) -> list[str]:
    """The ids of rows."""
    return [row.id for row in rows]
