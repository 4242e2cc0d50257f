"""From rows to what the API and the pages show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.fleet.models import Proxy
from app.tools.alerting import MEANINGS
from app.tools.documents import parsed
from app.tools.judgement import UNUSUAL_NAME
from app.tools.models import MCPChange, MCPEntry, MCPServer, MCPVersion
from app.tools.schemas import (
    BaselineEntry,
    ChangeView,
    DeclarationFinding,
    EntryView,
    Reason,
    ServerView,
    VersionView,
)
from app.tools.states import QUARANTINE_FROM, State
from rules.model import Severity

TYPES = {"tool_added": "new_tool", "tool_removed": "removed_tool"}
"""Documented names of changes (inventory b.10); every other change is called by its code."""
_FINDING_FIELDS = DeclarationFinding.__struct_fields__


def is_clean(entry: MCPEntry) -> bool:
    """Whether nothing speaks against approving an entry at a glance."""
    return (
        not entry.is_blocked
        and not entry.findings
        and all(
            reason["code"] != UNUSUAL_NAME and Severity.parse(reason["severity"]) < QUARANTINE_FROM
            for reason in entry.reasons
        )
    )


def finding_views(rows: Iterable[Mapping[str, Any]]) -> list[DeclarationFinding]:
    """Findings from a JSON column."""
    return [DeclarationFinding(**{name: row[name] for name in _FINDING_FIELDS}) for row in rows]


def reason_views(rows: Iterable[Mapping[str, Any]]) -> list[Reason]:
    """Reasons from a JSON column, with their meaning."""
    return [
        Reason(
            code=row["code"],
            severity=row["severity"],
            pointer=row["pointer"],
            detail=row["detail"],
            meaning=MEANINGS.get(row["code"], row["code"]),
        )
        for row in rows
    ]


def entry_view(entry: MCPEntry, proxy_name: str) -> EntryView:
    """An entry as the API shows it."""
    return EntryView(
        id=entry.id,
        proxy_id=entry.proxy_id,
        proxy_name=proxy_name,
        kind=entry.kind,
        name=entry.name,
        description=entry.title,
        enabled=entry.state == State.APPROVED,
        state=entry.state,
        risk=entry.risk,
        capabilities=list(entry.capabilities),
        h_raw=entry.current_hash,
        approved_hash=entry.approved_hash,
        version=entry.approved_version,
        approved_by=entry.approved_by if entry.approved_hash else "",
        approved_at=entry.approved_at if entry.approved_hash else None,
        findings=finding_views(entry.findings),
        reasons=reason_views(entry.reasons),
        is_clean=is_clean(entry),
        discovered_at=entry.first_seen_at,
        last_seen_at=entry.last_seen_at,
        changed_at=entry.changed_at,
    )


def change_view(change: MCPChange, proxy_name: str) -> ChangeView:
    """A change as the API shows it."""
    return ChangeView(
        id=change.id,
        proxy_id=change.proxy_id,
        proxy_name=proxy_name,
        entry_id=change.entry_id,
        kind=change.kind,
        name=change.name,
        type=TYPES.get(change.code, change.code),
        severity=change.severity,
        status=change.status,
        reasons=reason_views(change.reasons),
        findings=finding_views(change.findings),
        similarity=change.similarity,
        renamed_from=change.renamed_from,
        before_hash=change.before_hash,
        after_hash=change.after_hash,
        version=change.version,
        trigger=change.trigger,
        detected_at=change.detected_at,
        decided_at=change.decided_at,
        decided_by=change.decided_by,
        comment=change.comment,
    )


def version_view(version: MCPVersion) -> VersionView:
    """An approval as the API shows it."""
    return VersionView(**{name: getattr(version, name) for name in VersionView.__struct_fields__})


def baseline_entry(entry: MCPEntry) -> BaselineEntry:
    """What is approved of an entry."""
    return BaselineEntry(
        id=entry.id,
        kind=entry.kind,
        name=entry.name,
        state=entry.state,
        version=entry.approved_version,
        h_raw=entry.approved_hash,
        approved_by=entry.approved_by,
        approved_at=entry.approved_at,
    )


def server_view(
    proxy: Proxy,
    server: MCPServer | None,
    entry: MCPEntry | None,
    counts: Mapping[tuple[str, str], int],
    discovering_since_at: datetime | None,
) -> ServerView:
    """A server as it stands; one that was never observed has nothing but its proxy."""
    document = parsed(entry.current_document) if entry is not None and entry.current_document else {}
    info = document.get("serverInfo")
    info = info if type(info) is dict else {}
    kinds: Counter[str] = Counter()
    states: Counter[str] = Counter()
    for (kind, state), count in counts.items():
        if state != State.MISSING:
            kinds[kind] += count
        if kind != "server":
            states[state] += count
    return ServerView(
        proxy_id=proxy.id,
        proxy_name=proxy.name,
        name=_text(info, "name"),
        version=_text(info, "version"),
        protocol=_text(document, "protocolVersion"),
        state=entry.state if entry else "",
        transport=proxy.transport,
        origin=proxy.target_url or " ".join(proxy.launch_command or ()),
        entry_id=entry.id if entry else "",
        tools=kinds["tool"],
        prompts=kinds["prompt"],
        resources=kinds["resource"],
        templates=kinds["template"],
        pending=states[State.PENDING],
        changed=states[State.CHANGED],
        first_seen_at=server.first_seen_at if server else None,
        last_seen_at=server.last_seen_at if server else None,
        last_trigger=server.last_trigger if server else "",
        discovered_at=server.discovered_at if server else None,
        next_discovery_at=server.next_discovery_at if server and proxy.discovery_interval_hours else None,
        discovering_since_at=discovering_since_at,
        failure=server.failure if server else "",
        problems=list(server.problems) if server else [],
    )


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text[:200] if type(text) is str else ""


def names_of(proxies: Sequence[Proxy]) -> dict[str, str]:
    """Names by id."""
    return {proxy.id: proxy.name for proxy in proxies}
