"""What can be read about tools. `decisions.py` changes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.fleet.errors import ProxyNotFound
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.http.envelope import Listing
from app.http.sorting import Sort
from app.security.permissions import Actor
from app.tools.discovery import Discovery
from app.tools.documents import parsed
from app.tools.errors import ChangeNotFound, NotMCP, ToolNotFound
from app.tools.models import MCPEntry
from app.tools.repository import ChangeFilter, EntryFilter, ToolRepository
from app.tools.schemas import (
    BaselineView,
    ChangeDetail,
    ChangeView,
    EntryView,
    OverrideView,
    ProxyTools,
    ServerView,
    VersionView,
)
from app.tools.views import baseline_entry, change_view, entry_view, names_of, server_view, version_view
from rules.pinning.canonical import sha256

MAX_TOOLS = 5_000
MAX_OPEN = 1_000
"""Where the count in the rail stops."""


class EntryDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One entry with its definitions and its history."""

    entry: EntryView
    current: dict[str, Any]
    approved: dict[str, Any] | None
    versions: list[VersionView]
    changes: list[ChangeView]
    overrides: list[OverrideView]


class ToolService:
    """Reads."""

    def __init__(self, *, database: Database, discovery: Discovery) -> None:
        self._database = database
        self._discovery = discovery

    async def tools(self, actor: Actor, proxy_id: str) -> ProxyTools:
        """The tools of a proxy, those that need somebody first; raises ProxyNotFound or NotMCP."""
        async with self._database.reader() as session:
            proxy = await mcp_proxy(session, actor, proxy_id)
            rows, total = await ToolRepository(session, actor.tenant_id).page(
                EntryFilter(proxy_id=proxy_id, kinds=("tool",)), limit=MAX_TOOLS, offset=0
            )
        return ProxyTools(proxy_id=proxy_id, tools=[entry_view(row, proxy.name) for row in rows], count=total)

    async def entries(
        self, actor: Actor, wanted: EntryFilter, *, limit: int, offset: int = 0, sort: Sort | None = None
    ) -> Listing[EntryView]:
        """A page of entries of all servers."""
        async with self._database.reader() as session:
            names = names_of(await ProxyRepository(session, actor.tenant_id).all())
            rows, total = await ToolRepository(session, actor.tenant_id).page(
                wanted, limit=limit, offset=offset, sort=sort
            )
        views = [entry_view(row, names.get(row.proxy_id, "")) for row in rows]
        return Listing(views, total, limit, offset)

    async def entry(self, actor: Actor, entry_id: str) -> EntryDetail:
        """One entry with everything about it; raises ToolNotFound."""
        async with self._database.reader() as session:
            repository = ToolRepository(session, actor.tenant_id)
            row = await repository.entry(entry_id)
            if row is None:
                raise ToolNotFound
            name = await _name(session, actor, row.proxy_id)
            versions = await repository.versions(entry_id)
            changes, _ = await repository.changes(
                ChangeFilter(entry_id=entry_id), limit=50, sort=Sort("detected_at", descending=True)
            )
            overrides = await repository.overrides(entry_id=entry_id)
            current, approved = row.current_document, row.approved_document
        return EntryDetail(
            entry=entry_view(row, name),
            current=parsed(current) if current else {},
            approved=parsed(approved) if approved else None,
            versions=[version_view(version) for version in versions],
            changes=[change_view(change, name) for change in changes],
            overrides=[
                OverrideView(
                    key_id=one.key_id, tool=row.name, enabled=one.enabled, set_at=one.set_at, set_by=one.set_by
                )
                for one in overrides
            ],
        )

    async def documents(self, actor: Actor, entry_ids: list[str]) -> dict[str, dict[str, Any]]:
        """The current definitions of some entries, by id."""
        async with self._database.reader() as session:
            rows = await ToolRepository(session, actor.tenant_id).entries_by_id(entry_ids)
            return {row.id: parsed(row.current_document) for row in rows if row.current_document}

    async def find(self, actor: Actor, proxy_id: str, tool: str) -> EntryView:
        """The tool of a proxy with this id or name; raises ProxyNotFound, NotMCP or ToolNotFound."""
        async with self._database.reader() as session:
            proxy = await mcp_proxy(session, actor, proxy_id)
            return entry_view(await tool_row(ToolRepository(session, actor.tenant_id), proxy_id, tool), proxy.name)

    async def changes(
        self, actor: Actor, wanted: ChangeFilter, *, limit: int, offset: int = 0, sort: Sort | None = None
    ) -> Listing[ChangeView]:
        """A page of changes."""
        async with self._database.reader() as session:
            names = names_of(await ProxyRepository(session, actor.tenant_id).all())
            if wanted.proxy_id and wanted.proxy_id not in names:
                raise ProxyNotFound
            rows, total = await ToolRepository(session, actor.tenant_id).changes(
                wanted, limit=limit, offset=offset, sort=sort
            )
        return Listing([change_view(row, names.get(row.proxy_id, "")) for row in rows], total, limit, offset)

    async def waiting_ids(self, actor: Actor, *, limit: int) -> Sequence[str]:
        """The ids of the open changes, in the order of the queue."""
        async with self._database.reader() as session:
            return await ToolRepository(session, actor.tenant_id).change_ids(
                ChangeFilter(statuses=("open",)), limit=limit
            )

    async def change(self, actor: Actor, change_id: str, *, proxy_id: str = "") -> ChangeDetail:
        """One change with both definitions; raises ChangeNotFound, also for one of another server than `proxy_id`."""
        async with self._database.reader() as session:
            row = await ToolRepository(session, actor.tenant_id).change(change_id)
            if row is None or proxy_id not in ("", row.proxy_id):
                raise ChangeNotFound
            name = await _name(session, actor, row.proxy_id)
            before, after = row.before_document, row.after_document
        return ChangeDetail(
            change=change_view(row, name),
            old=parsed(before) if before else None,
            new=parsed(after) if after else None,
        )

    async def baseline(self, actor: Actor, proxy_id: str) -> BaselineView:
        """What is approved of a server; raises ProxyNotFound or NotMCP."""
        async with self._database.reader() as session:
            await mcp_proxy(session, actor, proxy_id)
            repository = ToolRepository(session, actor.tenant_id)
            rows = [row for row in await repository.entries_of(proxy_id) if row.approved_hash]
            server = await repository.server(proxy_id)
            of_server = await repository.named(proxy_id, "server", "")
            document = of_server.approved_document if of_server else None
        rows.sort(key=lambda row: (row.kind, row.name))
        parts = [[row.kind, row.name, row.approved_hash] for row in rows]
        return BaselineView(
            proxy_id=proxy_id,
            root_hash=sha256(json.dumps(parts).encode()) if rows else "",
            server=parsed(document) if document else None,
            first_seen_at=server.first_seen_at if server else None,
            last_seen_at=server.last_seen_at if server else None,
            next_discovery_at=server.next_discovery_at if server else None,
            entries=[baseline_entry(row) for row in rows if row.kind != "server"],
        )

    async def servers(self, actor: Actor) -> list[ServerView]:
        """Every MCP server, by the name of its proxy."""
        async with self._database.reader() as session:
            proxies = [one for one in await ProxyRepository(session, actor.tenant_id).all() if one.type == "mcp"]
            repository = ToolRepository(session, actor.tenant_id)
            servers, counts = await repository.servers(), await repository.counts()
            entries = await repository.server_entries()
        return [
            server_view(
                proxy,
                servers.get(proxy.id),
                entries.get(proxy.id),
                counts.get(proxy.id, {}),
                self._discovery.since(proxy.id),
            )
            for proxy in proxies
        ]

    async def server(self, actor: Actor, proxy_id: str) -> ServerView:
        """One server; raises ProxyNotFound or NotMCP."""
        async with self._database.reader() as session:
            proxy = await mcp_proxy(session, actor, proxy_id)
            repository = ToolRepository(session, actor.tenant_id)
            server = await repository.server(proxy_id)
            counts = (await repository.counts()).get(proxy_id, {})
            entry = await repository.named(proxy_id, "server", "")
        return server_view(proxy, server, entry, counts, self._discovery.since(proxy_id))

    async def overrides(self, actor: Actor, proxy_id: str) -> list[OverrideView]:
        """What single keys may do differently; raises ProxyNotFound or NotMCP."""
        async with self._database.reader() as session:
            await mcp_proxy(session, actor, proxy_id)
            repository = ToolRepository(session, actor.tenant_id)
            names = {row.id: row.name for row in await repository.entries_of(proxy_id)}
            rows = await repository.overrides(proxy_id)
        return [
            OverrideView(
                key_id=row.key_id,
                tool=names.get(row.entry_id, ""),
                enabled=row.enabled,
                set_at=row.set_at,
                set_by=row.set_by,
            )
            for row in rows
        ]

    async def unreviewed(self, actor: Actor) -> dict[str, int]:
        """By proxy how many entries wait that were never looked at."""
        async with self._database.reader() as session:
            return await ToolRepository(session, actor.tenant_id).unreviewed()

    async def open_reviews(self, actor: Actor) -> int:
        """How many decisions about definitions wait."""
        async with self._database.reader() as session:
            return await ToolRepository(session, actor.tenant_id).open_reviews(most=MAX_OPEN)


async def mcp_proxy(session: AsyncSession, actor: Actor, proxy_id: str) -> Proxy:
    """The proxy; raises ProxyNotFound, or NotMCP for one in front of something else."""
    proxy = await ProxyRepository(session, actor.tenant_id).get(proxy_id)
    if proxy is None:
        raise ProxyNotFound
    if proxy.type != "mcp":
        raise NotMCP
    return proxy


async def tool_row(repository: ToolRepository, proxy_id: str, tool: str) -> MCPEntry:
    """The tool of a proxy by id or, failing that, by name; raises ToolNotFound."""
    row = await repository.entry(tool) if tool.startswith("ent_") else None
    if row is None or row.proxy_id != proxy_id or row.kind == "server":
        row = await repository.named(proxy_id, "tool", tool)
    if row is None:
        raise ToolNotFound
    return row


async def tool_rows(repository: ToolRepository, proxy_id: str, tools: Sequence[str]) -> dict[str, MCPEntry]:
    """The tools of a proxy by what they were asked for: ids or names, as `tool_row` takes them."""
    named = await repository.entries_of(proxy_id, [("tool", tool) for tool in tools])
    by_id = await repository.entries_by_id([tool for tool in tools if tool.startswith("ent_")])
    found = {row.name: row for row in named}
    return found | {row.id: row for row in by_id if row.proxy_id == proxy_id and row.kind != "server"}


async def _name(session: AsyncSession, actor: Actor, proxy_id: str) -> str:
    proxy = await ProxyRepository(session, actor.tenant_id).get(proxy_id)
    return proxy.name if proxy else ""
