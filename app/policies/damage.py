"""Damaged rules at the start: an audit entry and an alert for each file, and a refusal to start where that is wanted.

A damaged pack or policy takes nothing else with it. Proxies that need it fail with the reason, as no message may pass
without the rules that were chosen for it; the console comes up, so that somebody can see why.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime

import msgspec

from app import clock
from app.alerts.recording import damage_row
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import AppError
from app.http.events import EventBus
from app.policies.library import PolicyLibrary
from rules.packs import Problem

logger = logging.getLogger(__name__)


class RulesDamaged(AppError):
    """The program was told not to start without all of its rules."""


def refuse_damage(library: PolicyLibrary) -> None:
    """Raises RulesDamaged where any file of the library is damaged."""
    if library.damage:
        raise RulesDamaged("The rules are damaged: " + "; ".join(map(str, library.damage)))


class DamageReport:
    """Writes down what is damaged, once at each start."""

    def __init__(self, *, database: Database, audit: AuditLog, bus: EventBus, library: PolicyLibrary) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._library = library

    def __repr__(self) -> str:
        return f"<DamageReport {len(self._library.damage)}>"

    async def start(self) -> None:
        """Record every damaged file; an alert for the same problem is raised once a day at most."""
        damage = self._library.damage
        if not damage:
            return
        now = clock.utcnow()
        rows = [
            damage_row(_event_id(problem, now), tenant_id=DEFAULT_TENANT, problem=str(problem), now=now)
            for problem in damage
        ]
        async with self._database.writer() as session:
            for problem in damage:
                logger.error("Rules are damaged and not in force: %s", problem)
                await self._audit.record(
                    session,
                    "rules.damaged",
                    actor=None,
                    resource=("file", problem.file, problem.file),
                    result="failure",
                    severity="critical",
                    details={"pointer": problem.pointer, "reason": problem.reason[:500]},
                )
            alerts = AlertRepository(session)
            await alerts.add_new(rows)
            raised = await alerts.of_calls({row["call_id"] for row in rows})
            views = [msgspec.to_builtins(alert_view(alert)) for alert in raised]
        for view in views:
            self._bus.publish("alert", view)

    async def stop(self) -> None:
        """Nothing is left to do."""


def _event_id(problem: Problem, now: datetime) -> str:
    digest = hashlib.sha256(f"{problem} {now:%Y-%m-%d}".encode()).hexdigest()
    return f"fail_{digest[:26]}"
