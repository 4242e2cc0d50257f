"""What workers are told to let pass, from the rows: no documents are read for it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.tools.models import MCPEntry
from app.tools.repository import ToolRepository
from app.tools.states import HOLDING_CODES, State
from proxies.contract import EntryRule, MCPControl
from rules.pinning.canonical import sha256

NOTHING = MCPControl()
"""What passes of a server that nobody has looked at."""


async def controls(session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> dict[str, MCPControl]:
    """By proxy what may pass; a proxy that is not there has not been observed (`NOTHING`)."""
    repository = ToolRepository(session, tenant_id)
    held = await repository.holding(HOLDING_CODES)
    entries: dict[str, list[MCPEntry]] = {}
    statement = select(MCPEntry).where(
        MCPEntry.tenant_id == tenant_id, MCPEntry.kind.in_(("tool", "prompt", "template"))
    )
    for row in await session.scalars(statement.order_by(MCPEntry.name)):
        entries.setdefault(row.proxy_id, []).append(row)
    overrides: dict[str, dict[str, dict[str, bool]]] = {}
    names = {row.id: row.name for rows in entries.values() for row in rows}
    for override in await repository.overrides():
        if name := names.get(override.entry_id):
            overrides.setdefault(override.proxy_id, {}).setdefault(override.key_id, {})[name] = override.enabled
    instructions = await _instructions(session, tenant_id)
    return {
        proxy_id: MCPControl(
            tools=_rules(entries.get(proxy_id, ()), "tool", is_held=proxy_id in held),
            prompts=_rules(entries.get(proxy_id, ()), "prompt", is_held=proxy_id in held),
            templates=_rules(entries.get(proxy_id, ()), "template", is_held=proxy_id in held),
            instructions=() if proxy_id in held else instructions.get(proxy_id, ()),
            tool_overrides={} if proxy_id in held else overrides.get(proxy_id, {}),
        )
        for proxy_id in entries.keys() | instructions.keys()
    }


def rule_of(row: MCPEntry, *, is_held: bool = False) -> EntryRule:
    """What a worker has to know of one entry."""
    accepted = tuple(dict.fromkeys(hash for hash in (row.approved_hash, *row.tolerated) if hash))
    state = State(row.state)
    if is_held:
        return EntryRule(accepted=(), enabled=False, reason="changed")
    if state is State.APPROVED:
        return EntryRule(accepted=accepted)
    if state is State.CHANGED:
        # What was approved passes again as soon as it is served again; of what is declared twice nothing does.
        return EntryRule(accepted=accepted, enabled=not row.is_blocked, reason="changed")
    if state is State.MISSING:
        return EntryRule(accepted=accepted, enabled=bool(accepted) and not row.is_disabled, reason="missing")
    return EntryRule(accepted=accepted, enabled=False, reason=state.value)


def _rules(rows: Iterable[MCPEntry], kind: str, *, is_held: bool) -> dict[str, EntryRule]:
    return {row.name: rule_of(row, is_held=is_held) for row in rows if row.kind == kind}


async def _instructions(session: AsyncSession, tenant_id: str) -> dict[str, tuple[str, ...]]:
    """By proxy the hash of the approved instructions; the server's document is the only one that is read."""
    statement = select(MCPEntry.proxy_id, MCPEntry.approved_document).where(
        MCPEntry.tenant_id == tenant_id, MCPEntry.kind == "server"
    )
    found: dict[str, tuple[str, ...]] = {}
    for proxy_id, document in await session.execute(statement):
        text = json.loads(document).get("instructions") if document else None
        found[proxy_id] = (sha256(text.encode("utf-8", "surrogatepass")),) if type(text) is str else ()
    return found
