"""Judges observations: reads what is known, compares, and commits the outcome in one unit of work."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.http.events import EventBus
from app.tools import alerting, documents
from app.tools.applying import Applied, Applier
from app.tools.events import publish
from app.tools.findings import DeclarationRules, Found, scan
from app.tools.judgement import AutoApprove, Judgement, Key, KnownEntry, Sighting, judge, sightings_of, touched
from app.tools.judgement import declared as declared_of
from app.tools.models import MCPEntry, MCPServer
from app.tools.repository import ToolRepository
from app.tools.turns import Turns
from proxies.contract import Observation
from rules.model import Severity
from rules.pinning.canonical import sha256

logger = logging.getLogger(__name__)

MAX_PROBLEMS = 20
MAX_CHANGES_KEPT = 500
MAX_ENTRIES = 5_000
"""Entries kept of one server; missing ones beyond them are forgotten."""
SERVER: Key = ("server", "")


class Case(msgspec.Struct, frozen=True):
    """Everything that a judgement needs."""

    proxy: Proxy
    known: dict[Key, KnownEntry]
    sightings: list[Sighting]
    concerned: set[Key]
    server: bytes | None
    other_names: dict[str, list[str]]


class Judge:
    """Turns observations into states."""

    def __init__(
        self, *, database: Database, audit: AuditLog, bus: EventBus, rules: DeclarationRules, turns: Turns
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._rules = rules
        self._turns = turns

    async def __call__(self, observation: Observation) -> bool:
        """Judge and commit; returns whether workers have to be told. An observation of no proxy is dropped."""
        async with self._turns.of(observation.proxy_id):
            if observation.failure:
                await self._note_failure(observation)
                return False
            return await self._judge(observation)

    async def _judge(self, observation: Observation) -> bool:
        sightings, problems = sightings_of(observation.entries)
        problems = [problem[:500] for problem in (*observation.problems, *problems)][:MAX_PROBLEMS]
        case = await self._case(observation, sightings)
        if case is None:
            logger.info("An observation of proxy %s, which does not exist any more, is dropped", observation.proxy_id)
            return False
        before = case.known.get(SERVER)
        is_server_new = case.server is not None and (before is None or before.current_hash != sha256(case.server))
        judgement = Judgement()
        if case.concerned or is_server_new:
            ruleset = await self._rules.ruleset()
            judgement = await asyncio.to_thread(_compare, case, ruleset)
        return await self._commit(observation, case, judgement, problems)

    async def _case(self, observation: Observation, sightings: list[Sighting]) -> Case | None:
        async with self._database.reader() as session:
            proxies = {proxy.id: proxy for proxy in await ProxyRepository(session, DEFAULT_TENANT).all()}
            proxy = proxies.get(observation.proxy_id)
            if proxy is None or proxy.type != "mcp":
                return None
            repository = ToolRepository(session, proxy.tenant_id)
            rows = {(row.kind, row.name): row for row in await repository.entries_of(proxy.id)}
            light = {key: _known(row) for key, row in rows.items()}
            concerned = touched(light, sightings, observation.kinds)
            full = await repository.entries_of(proxy.id, {*concerned, SERVER})
            known = light | {(row.kind, row.name): _known(row, documents=True) for row in full}
            server_row = next((row for row in full if row.kind == "server"), None)
            others = {
                other.id: other.name
                for other in proxies.values()
                if other.type == "mcp" and other.id != proxy.id and _place(other) != _place(proxy)
            }
            names = await repository.tool_names(others) if concerned and others else {}
        server = None
        if observation.server or observation.origin:
            server = documents.server_document(observation, server_row.current_document if server_row else None)
        return Case(proxy, known, sightings, concerned, server, {others[key]: value for key, value in names.items()})

    async def _commit(
        self, observation: Observation, case: Case, judgement: Judgement, problems: Sequence[str]
    ) -> bool:
        now = clock.utcnow()
        alerts: list[dict[str, Any]] = []
        async with self._database.writer() as session:
            proxy = await ProxyRepository(session, DEFAULT_TENANT).get(case.proxy.id)
            if proxy is None:
                return False
            repository = ToolRepository(session, proxy.tenant_id)
            server = await _server_row(repository, proxy.id)
            new_problems = [problem for problem in problems if problem not in server.problems]
            _note_success(server, observation, problems, now, proxy.discovery_interval_hours)
            await session.flush()
            await repository.see(proxy.id, [*observation.kinds, "server"], now)
            applied = Applied()
            if judgement.entries:
                applied = await Applier(session, repository, proxy, observation.trigger, now).apply(judgement)
                await repository.prune_changes(proxy.id, keep=MAX_CHANGES_KEPT)
                await self._forget_surplus(repository, proxy.id)
                await self._record(session, proxy, applied)
            notices = alerting.of_changes(applied.changes, proxy=proxy)
            if applied.to_review:
                found = sum(bool(entry.findings) for entry in applied.to_review)
                notices.append(
                    alerting.of_review(
                        ids.new_id("rev"), proxy=proxy, pending=len(applied.to_review), with_findings=found
                    )
                )
            if new_problems:
                notices.append(alerting.of_problems(ids.new_id("obs"), new_problems))
            if notices:
                repository_of_alerts = AlertRepository(session, proxy.tenant_id)
                an_hour_ago = now - timedelta(hours=1)
                said = await repository_of_alerts.count_of_policy(proxy.id, alerting.POLICY, an_hour_ago)
                if said >= alerting.MAX_ALERTS_AN_HOUR:
                    notices = [alerting.of_flood(proxy=proxy, now=now)]
                await repository_of_alerts.add_new(
                    [alerting.alert_row(notice, proxy=proxy, now=now) for notice in notices]
                )
                raised = await repository_of_alerts.of_calls({notice.event_id for notice in notices})
                alerts = [msgspec.to_builtins(alert_view(row)) for row in raised]
        for view in alerts:
            self._bus.publish("alert", view)
        if judgement.entries or problems:
            publish(self._bus, case.proxy.id, changes=applied.changes)
        return bool(judgement.entries)

    async def _record(self, session: AsyncSession, proxy: Proxy, applied: Applied) -> None:
        """What the judgement did by itself, for the audit log."""
        resource = ("proxy", proxy.id, proxy.name)
        if applied.discovered:
            kinds = Counter(entry.kind for entry in applied.discovered)
            details = {"found": dict(kinds), "names": _names(applied.discovered), "approved": len(applied.approved)}
            await self._audit.record(session, "mcp.tool.discovered", actor=None, resource=resource, details=details)
        if applied.changes:
            changes = [
                {"id": one.id, "kind": one.kind, "name": one.name[:100], "code": one.code, "severity": one.severity}
                for one in applied.changes[:15]
            ]
            await self._audit.record(
                session,
                "mcp.tool.changed",
                actor=None,
                resource=resource,
                severity="warning" if any(one.status == "open" for one in applied.changes) else "info",
                details={"count": len(applied.changes), "changes": changes},
            )

    async def _forget_surplus(self, repository: ToolRepository, proxy_id: str) -> None:
        rows = await repository.entries_of(proxy_id)
        missing = sorted((row for row in rows if row.is_missing), key=lambda row: row.last_seen_at)
        if len(rows) > MAX_ENTRIES and missing:
            await repository.delete_entries([row.id for row in missing[: len(rows) - MAX_ENTRIES]])

    async def _note_failure(self, observation: Observation) -> None:
        async with self._database.writer() as session:
            proxy = await ProxyRepository(session, DEFAULT_TENANT).get(observation.proxy_id)
            if proxy is None:
                return
            server = await _server_row(ToolRepository(session, proxy.tenant_id), proxy.id)
            server.failure = observation.failure[:1000].replace("\x00", "\ufffd")
            server.last_trigger = observation.trigger
            _plan_next(server, clock.utcnow(), proxy.discovery_interval_hours)
        publish(self._bus, observation.proxy_id)


def _compare(case: Case, ruleset: Any) -> Judgement:
    """The part that takes processor time, in a thread."""
    readable = [one for one in case.sightings if one.key in case.concerned and not one.is_blocked]
    found: Found = scan(ruleset, case.server, [declared_of(sighting) for sighting in readable])
    return judge(
        known=case.known,
        sightings=case.sightings,
        server=case.server,
        concerned=case.concerned,
        found=found,
        auto_approve=cast(AutoApprove, case.proxy.auto_approve),
        quarantine_from=Severity.parse(case.proxy.quarantine_from),
        other_names=case.other_names,
    )


def _known(row: MCPEntry, *, documents: bool = False) -> KnownEntry:
    return KnownEntry(
        kind=row.kind,
        name=row.name,
        approved_hash=row.approved_hash,
        approved_document=row.approved_document if documents else None,
        approved_findings=tuple(row.approved_findings or ()) if documents else (),
        tolerated=tuple(row.tolerated),
        current_hash=row.current_hash,
        is_disabled=row.is_disabled,
        is_missing=row.is_missing,
        is_blocked=row.is_blocked,
    )


async def _server_row(repository: ToolRepository, proxy_id: str) -> MCPServer:
    server = await repository.server(proxy_id)
    if server is None:
        server = MCPServer(proxy_id=proxy_id, last_trigger="", problems=[], failure="")
        repository.add(server)
    return server


def _note_success(
    server: MCPServer, observation: Observation, problems: Sequence[str], now: datetime, interval_hours: int
) -> None:
    server.first_seen_at = server.first_seen_at or now
    server.last_seen_at = now
    server.last_trigger = observation.trigger
    server.problems = list(problems)
    server.failure = ""
    if observation.trigger in ("timer", "request", "connect"):
        server.discovered_at = now
        _plan_next(server, now, interval_hours)


def _plan_next(server: MCPServer, now: datetime, interval_hours: int) -> None:
    server.next_discovery_at = now + timedelta(hours=interval_hours) if interval_hours else None


def _place(proxy: Proxy) -> tuple[str, str, tuple[str, ...]]:
    """Where a server is: two proxies in front of one server have the same names for a good reason."""
    parts = urlsplit(proxy.target_url)
    return parts.netloc, parts.path, tuple(proxy.launch_command or ())


def _names(entries: Sequence[MCPEntry]) -> list[str]:
    return [entry.name[:100] for entry in entries][:20]
