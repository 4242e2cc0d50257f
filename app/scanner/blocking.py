"""From scans to tools that are refused (SYP-SCAN-6): the console tells the workers with the snapshot."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.scanner.models import Scan, ScanGate
from app.scanner.repository import ScanRepository
from app.scanner.schemas import BlockedTool
from proxies.contract import EntryRule, MCPControl
from rules.model import Severity

REASON = "scan"
"""Why a tool may not pass, in the record of a refused call (`EntryRule.reason`)."""


async def blocked_tools(session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> dict[str, frozenset[str]]:
    """By proxy the names of the tools that its last scan forbids."""
    repository = ScanRepository(session, tenant_id)
    gates = await repository.gates()
    if not gates:
        return {}
    scans = await repository.latest_of_proxies()
    found = {
        gate.proxy_id: frozenset(tool.name for tool in judged(gate, scans[gate.proxy_id]) if not tool.lifted)
        for gate in gates
        if gate.proxy_id in scans
    }
    return {proxy_id: names for proxy_id, names in found.items() if names}


def judged(gate: ScanGate, scan: Scan) -> list[BlockedTool]:
    """The tools that a gate refuses by a scan, those that were lifted included; the worst first."""
    if not gate.severity:
        return []
    least = Severity.parse(gate.severity)
    bad = [
        BlockedTool(name=name, severity=word, lifted=name in gate.lifted)
        for name, word in scan.tool_severities.items()
        if Severity.parse(word) >= least
    ]
    return sorted(bad, key=lambda tool: (-Severity.parse(tool.severity), tool.name))


def closed(control: MCPControl, names: frozenset[str]) -> MCPControl:
    """The control of a proxy with these tools refused, whatever else is said about them, for every key."""
    if not names:
        return control
    tools: Mapping[str, EntryRule] = control.tools
    refused = {
        name: msgspec.structs.replace(tools.get(name, EntryRule()), accepted=(), enabled=False, reason=REASON)
        for name in names
    }
    return msgspec.structs.replace(control, tools={**tools, **refused})
