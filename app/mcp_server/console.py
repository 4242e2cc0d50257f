"""Answers from this console, as far as the caller's role goes."""

from __future__ import annotations

import asyncio

from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertView
from app.alerts.service import AlertService
from app.errors import Forbidden
from app.policies.evaluation import Evaluator
from app.policies.trial_schemas import Evaluate, EvaluationView
from app.scanner.errors import ScanNotFinished
from app.scanner.result import ScanResult
from app.scanner.schemas import StartScanRequest
from app.scanner.service import ScannerService
from app.security.permissions import Actor, Role

MAX_WAIT_SECONDS = 280.0


class ConsoleBackend:
    """For one caller."""

    def __init__(self, actor: Actor, evaluator: Evaluator, scanner: ScannerService, alerts: AlertService) -> None:
        self._actor = actor
        self._evaluator = evaluator
        self._scanner = scanner
        self._alerts = alerts

    def __repr__(self) -> str:
        return f"<ConsoleBackend for {self._actor.username}>"

    async def check(self, text: str, kind: str) -> EvaluationView:
        """See `Backend`."""
        return await self._evaluator.evaluate(evaluation_of(text, kind))

    async def scan(self, url: str) -> ScanResult:
        """See `Backend`. A scan sends requests from here, which only an administrator may ask for."""
        if not self._actor.role.covers(Role.ADMIN):
            raise Forbidden("A scan needs a token with the role admin.")
        started = await self._scanner.begin(self._actor, StartScanRequest(target_url=url))
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._scanner.ended(started.id)
        except TimeoutError:
            raise ScanNotFinished("The scan takes longer than this call may.") from None
        now = await self._scanner.get(self._actor, started.id)
        if now.state != "done":
            raise ScanNotFinished(f"The scan {now.state}. {now.error}".strip())
        return await self._scanner.result(self._actor, started.id)

    async def alerts(self, severities: tuple[str, ...], limit: int) -> list[AlertView]:
        """See `Backend`."""
        wanted = AlertFilter(severities=severities, statuses=("open",))
        return (await self._alerts.page(self._actor, wanted, limit=limit)).items


def evaluation_of(text: str, kind: str) -> Evaluate:
    """How a text of some kind is judged."""
    direction = "request" if kind in ("prompt", "document") else "response"
    return Evaluate(text=text, target=kind, direction=direction)  # type: ignore[arg-type]  # One of the schema's words.
