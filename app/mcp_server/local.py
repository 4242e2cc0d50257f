"""Answers without a console: the shipped policies and a scan from this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app import clock
from app.alerts.schemas import AlertView
from app.errors import Unavailable
from app.fleet.rulesets import Rulesets, RulesetUnavailable
from app.mcp_server.console import evaluation_of
from app.policies.evaluation import Evaluator
from app.policies.library import PolicyLibrary
from app.policies.trial_schemas import EvaluationView
from app.policies.workbench import Workbench
from app.scanner.errors import ScanNotFinished
from app.scanner.reading import default_policy, scan_policy
from app.scanner.result import ScanResult, build_result
from proxies.contract import ScanTarget
from proxies.scan.run import ScanFailed, gather
from rules.packs import Pack
from rules.scanning import assess


class LocalBackend:
    """Compiles the rules when they are needed first, and keeps them in the user's cache."""

    def __init__(self, cache_directory: Path) -> None:
        self._library = PolicyLibrary.shipped()
        self._rulesets = Rulesets(self._library, cache_directory)
        self._workbench = Workbench()
        self._evaluator = Evaluator(library=self._library, rulesets=self._rulesets, workbench=self._workbench)

    def __repr__(self) -> str:
        return "<LocalBackend>"

    async def check(self, text: str, kind: str) -> EvaluationView:
        """See `Backend`."""
        await self._prepare(self._library.packs_of(self._library.defaults("llm")))
        return await self._evaluator.evaluate(evaluation_of(text, kind))

    async def scan(self, url: str) -> ScanResult:
        """See `Backend`."""
        started_at = clock.utcnow()
        try:
            facts = await gather(ScanTarget(target_url=url.rstrip("/")), active=False, progress=lambda *_: None)
        except ScanFailed as error:
            raise ScanNotFinished(str(error), remediation="Check the address.") from error
        finished_at = clock.utcnow()
        policy = scan_policy(self._library, default_policy(self._library))
        await self._prepare(self._library.packs_for(policy))
        judges = await self._evaluator.judges([(policy, 0, "")])
        return await self._workbench.run(
            lambda: build_result(
                facts,
                assess(facts, lambda texts: judges.scan(texts, "response")),
                policy=policy.name,
                active=False,
                started_at=started_at,
                finished_at=finished_at,
            )
        )

    async def _prepare(self, packs: Sequence[Pack]) -> None:
        """One ruleset of all packs, which the cache usually has; without it the evaluator makes one of each."""
        with suppress(RulesetUnavailable):
            await self._rulesets.of_packs(packs)

    async def alerts(self, severities: tuple[str, ...], limit: int) -> list[AlertView]:
        """See `Backend`. Alerts are a console's."""
        raise Unavailable(
            "Alerts are kept by a console, and this process does not speak to one.",
            remediation="Start it with OSTIARY_TOKEN and --console.",
        )
