"""Every decision about scans: started, watched, judged, kept, and what follows for the tools of a proxy."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app import clock, ids
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.audit.service import AuditLog
from app.background import Background
from app.database.engine import Database
from app.errors import AppError, ValidationFailed
from app.fleet import loops, validation
from app.fleet.control import FleetControl, Rollout
from app.fleet.errors import ProxyNotFound
from app.fleet.reconcile import Address
from app.fleet.repository import ProxyRepository
from app.fleet.rulesets import RulesetUnavailable
from app.fleet.worker import ScanReport
from app.http.envelope import Listing
from app.http.events import EventBus
from app.http.sorting import Sort
from app.policies.evaluation import Evaluator
from app.policies.library import PolicyLibrary
from app.policies.workbench import Workbench
from app.scanner.alerts import alert_rows
from app.scanner.blocking import blocked_tools, judged
from app.scanner.errors import NoScanner, NotConfirmed, ScanEnded, ScanNotFinished, ScanNotFound
from app.scanner.models import Scan, ScanGate
from app.scanner.reading import default_policy, scan_policy
from app.scanner.repository import ScanRepository
from app.scanner.result import ScanResult, build_result
from app.scanner.runs import Runs
from app.scanner.schemas import Comparison, GateView, LiftTool, ScanView, SetGate, StartScanRequest
from app.scanner.targets import Targets
from app.security.permissions import Actor
from proxies.contract import CancelScan, ScanFinished, ScanProgress, ScanTarget, StartScan
from rules.model import Finding, Severity, Text
from rules.packs import Pack
from rules.scanning import assess
from rules.scanning.checks import CHECK_OF_PACK
from rules.scanning.facts import ServerFacts, ToolAnswer

logger = logging.getLogger(__name__)

RESOURCE = "scan"
KEPT_SCANS = 500
MAX_LIFTED = 1_000
TRAFFIC_DAYS = 7
JUDGING_SECONDS = 120.0
_RESULT = msgspec.json.Decoder(ScanResult)


class ScannerService:
    """What can be done with scans."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        bus: EventBus,
        library: PolicyLibrary,
        evaluator: Evaluator,
        workbench: Workbench,
        targets: Targets,
        fleet: FleetControl,
        rollout: Rollout,
        prepare_packs: Callable[[Sequence[Pack]], Awaitable[object]],
        console: Address,
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._library = library
        self._evaluator = evaluator
        self._workbench = workbench
        self._targets = targets
        self._fleet = fleet
        self._rollout = rollout
        self._prepare_packs = prepare_packs
        self._console = console
        self._runs = Runs(lambda scan_id: self._end_soon(ScanFinished(scan_id, failure="The worker did not answer.")))
        self._background = Background("the scanner")

    def __repr__(self) -> str:
        return f"<ScannerService {self._runs!r}>"

    async def start(self) -> None:
        """Scans that an earlier console left are over."""
        async with self._database.writer() as session:
            for scan in await ScanRepository(session).running():
                scan.state, scan.error, scan.finished_at = "failed", "The console was stopped.", clock.utcnow()

    async def stop(self) -> None:
        """Forget what runs: the workers end with the console."""
        self._runs.end_all()
        await self._background.stop()

    # --- Starting and watching ------------------------------------------------------------------------------------

    async def begin(self, actor: Actor, request: StartScanRequest) -> ScanView:
        """Start a scan; raises ValidationFailed, NotConfirmed, ProxyNotFound, PolicyNotFound, TooManyScans, NoScanner."""
        scan, target = await self._wanted(actor, request)
        policy = request.policy or default_policy(self._library)
        scan.policy_name = scan_policy(self._library, policy).name
        if request.active and request.confirmation.strip() not in (scan.name, scan.target):
            raise NotConfirmed(fields={"confirmation": f"Give “{scan.name}” to confirm."})
        self._runs.begin(scan.id, actor.tenant_id)
        try:
            async with self._database.writer() as session:
                ScanRepository(session, actor.tenant_id).add(scan)
                await self._audit.record(
                    session,
                    "mcp.scan.started",
                    actor=actor,
                    resource=(RESOURCE, scan.id, scan.name),
                    details={"target": scan.target, "policy": scan.policy_name, "active": scan.active},
                )
        except BaseException:
            self._runs.end(scan.id)
            raise
        view = self._view(scan)
        if not await self._fleet.scan(StartScan(scan.id, target, scan.active)):
            await self._finish(ScanFinished(scan.id, failure=NoScanner.default_message))
            raise NoScanner
        return view

    async def cancel(self, actor: Actor, scan_id: str) -> ScanView:
        """Stop a scan; raises ScanNotFound or ScanEnded."""
        async with self._database.writer() as session:
            scan = await _existing(ScanRepository(session, actor.tenant_id), scan_id)
            if self._runs.end(scan_id) is None:
                raise ScanEnded(f"The scan is {scan.state} already.")
            scan.state, scan.finished_at = "cancelled", clock.utcnow()
            await self._audit.record(
                session, "mcp.scan.cancelled", actor=actor, resource=(RESOURCE, scan.id, scan.name)
            )
        await self._fleet.scan(CancelScan(scan_id))
        return self._view(scan)

    def on_scan(self, report: ScanReport) -> None:
        """What the fleet calls for what workers say; never waits."""
        if isinstance(report, ScanProgress):
            self._runs.note(report.id, report.percent, report.stage)
        else:
            self._end_soon(report)

    async def page(
        self,
        actor: Actor,
        *,
        proxy_id: str = "",
        search: str = "",
        sort: Sort | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Listing[ScanView]:
        """A page of scans, newest first unless sorted otherwise."""
        async with self._database.reader() as session:
            rows, total = await ScanRepository(session, actor.tenant_id).page(
                proxy_id=proxy_id, search=search, sort=sort, limit=limit, offset=offset
            )
        return Listing([self._view(row) for row in rows], total, limit, offset)

    async def get(self, actor: Actor, scan_id: str) -> ScanView:
        """How far a scan is; raises ScanNotFound."""
        async with self._database.reader() as session:
            return self._view(await _existing(ScanRepository(session, actor.tenant_id), scan_id))

    async def ended(self, scan_id: str) -> None:
        """Wait until a scan does not run any more."""
        if run := self._runs.get(scan_id):
            await run.ended.wait()

    async def latest(self, actor: Actor, proxy_id: str) -> ScanView:
        """The newest finished scan of a proxy; raises ScanNotFound."""
        async with self._database.reader() as session:
            scan = await ScanRepository(session, actor.tenant_id).latest(proxy_id)
        if scan is None:
            raise ScanNotFound("This proxy has no finished scan.")
        return self._view(scan)

    async def result(self, actor: Actor, scan_id: str) -> ScanResult:
        """What a scan came to; raises ScanNotFound or ScanNotFinished."""
        async with self._database.reader() as session:
            scan = await _existing(ScanRepository(session, actor.tenant_id), scan_id, with_result=True)
        if not scan.result:
            raise ScanNotFinished(f"The scan is {scan.state}. {scan.error}".strip())
        return _RESULT.decode(scan.result)

    async def comparison(self, actor: Actor, scan_id: str) -> Comparison | None:
        """What changed since the scan of the same target before; None for the first one. Raises ScanNotFound."""
        async with self._database.reader() as session:
            repository = ScanRepository(session, actor.tenant_id)
            scan = await _existing(repository, scan_id, with_result=True)
            before = await repository.latest(scan.target_key, before=scan.started_at, with_result=True)
        if before is None or not scan.result:
            return None
        now, then = _RESULT.decode(scan.result).findings, _RESULT.decode(before.result).findings
        known, current = {one.id for one in then}, {one.id for one in now}
        return Comparison(
            scan_id=before.id,
            started_at=before.started_at,
            new=[one.id for one in now if one.id not in known],
            gone=[one.title for one in then if one.id not in current],
            same=len(known & current),
            risk_score=before.risk_score,
        )

    # --- Gates ----------------------------------------------------------------------------------------------------

    async def gate(self, actor: Actor, proxy_id: str) -> GateView:
        """Which tools of a proxy are refused; raises ProxyNotFound."""
        async with self._database.reader() as session:
            if await ProxyRepository(session, actor.tenant_id).get(proxy_id) is None:
                raise ProxyNotFound
            repository = ScanRepository(session, actor.tenant_id)
            return _gate_view(proxy_id, await repository.gate(proxy_id), await repository.latest(proxy_id))

    async def set_gate(self, actor: Actor, proxy_id: str, request: SetGate) -> GateView:
        """Refuse tools from a severity on, or none; raises ProxyNotFound."""
        return await self._change_gate(actor, proxy_id, severity=request.severity)

    async def lift(self, actor: Actor, proxy_id: str, request: LiftTool) -> GateView:
        """Let a tool pass, or take that back; raises ProxyNotFound."""
        return await self._change_gate(actor, proxy_id, lift=request)

    async def _change_gate(
        self, actor: Actor, proxy_id: str, *, severity: str | None = None, lift: LiftTool | None = None
    ) -> GateView:
        async with self._database.writer() as session:
            proxy = await ProxyRepository(session, actor.tenant_id).get(proxy_id)
            if proxy is None:
                raise ProxyNotFound
            repository = ScanRepository(session, actor.tenant_id)
            gate = await repository.gate(proxy_id)
            if gate is None:
                gate = ScanGate(proxy_id=proxy_id, severity="", lifted=[])
                repository.add(gate)
            if severity is not None:
                gate.severity = severity
            if lift is not None:
                others = [name for name in gate.lifted if name != lift.tool]
                if lift.lifted and len(others) >= MAX_LIFTED:
                    raise ValidationFailed(fields={"tool": f"{MAX_LIFTED} tools are lifted. Refuse one of them again."})
                gate.lifted = [*others, lift.tool] if lift.lifted else others
            gate.changed_at, gate.changed_by = clock.utcnow(), actor.username
            event = "mcp.scan.gate.changed" if lift is None else "mcp.scan.gate.lifted"
            details = {"severity": gate.severity} if lift is None else {"tool": lift.tool, "lifted": lift.lifted}
            await self._audit.record(
                session, event, actor=actor, resource=("proxy", proxy.id, proxy.name), details=details
            )
            view = _gate_view(proxy_id, gate, await repository.latest(proxy_id))
        await self._rollout.roll_out()
        return view

    # --- The end of a scan ----------------------------------------------------------------------------------------

    def _end_soon(self, report: ScanFinished) -> None:
        self._background.spawn(self._finish(report), f"scan-{report.id}")

    async def _finish(self, report: ScanFinished) -> None:
        run = self._runs.get(report.id)
        if run is None:
            return
        run.stage, run.percent = "making the rules ready", 99
        try:
            failure = await self._failure(report, run.tenant_id)
            if failure:
                await self._write_failure(report.id, run.tenant_id, failure)
        finally:
            self._runs.end(report.id)

    async def _failure(self, report: ScanFinished, tenant_id: str) -> str:
        """Conclude a scan; why that was not possible, or nothing."""
        if report.facts is None:
            return report.failure or "The worker found nothing."
        try:
            await self._conclude(report.id, tenant_id, report.facts)
        except AppError as error:
            return f"{error.message} {error.remediation}"
        except Exception:
            # Broad: nobody awaits this task, so whatever ended the scan stands in its state.
            logger.exception("The scan %s could not be judged", report.id)
            return "The scan could not be judged; the log has the reason."
        return ""

    async def _write_failure(self, scan_id: str, tenant_id: str, failure: str) -> None:
        async with self._database.writer() as session:
            scan = await ScanRepository(session, tenant_id).get(scan_id)
            if scan is not None and scan.state == "running":
                scan.state, scan.error, scan.finished_at = "failed", failure[:1_000], clock.utcnow()

    async def _conclude(self, scan_id: str, tenant_id: str, facts: ServerFacts) -> None:
        finished_at = clock.utcnow()
        async with self._database.reader() as session:
            repository = ScanRepository(session, tenant_id)
            scan = await _existing(repository, scan_id)
            before = await repository.latest(scan.target_key, before=scan.started_at, with_result=True)
            there = {proxy.id for proxy in await ProxyRepository(session, tenant_id).all()} - {scan.proxy_id}
            others = {
                other.name: list(other.tool_names)
                for proxy_id, other in (await repository.latest_of_proxies()).items()
                if proxy_id in there
            }
            facts = await _with_traffic(repository, scan, facts, finished_at)
        result = await self._judge(scan, facts, others, finished_at)
        known = {one.id for one in _RESULT.decode(before.result).findings} if before is not None else set()
        async with self._database.writer() as session:
            repository = ScanRepository(session, tenant_id)
            scan = await _existing(repository, scan_id)
            if scan.state != "running":
                return
            blocked_before = (await blocked_tools(session, tenant_id)).get(scan.proxy_id, frozenset())
            _write(scan, result, facts, finished_at)
            await session.flush()
            blocked = (await blocked_tools(session, tenant_id)).get(scan.proxy_id, frozenset())
            fresh = [one for one in result.findings if one.id not in known]
            alerts = AlertRepository(session, tenant_id)
            await alerts.add_new(alert_rows(scan, fresh, blocked, finished_at))
            await self._audit.record(
                session,
                "mcp.scan.finished",
                actor=None,
                resource=(RESOURCE, scan.id, scan.name),
                severity="info" if result.passed else "warning",
                details={
                    "overall_risk": result.overall_risk,
                    "counts": scan.counts,
                    "called_tools": list(result.probed_tools)[:50],
                    "blocked_tools": sorted(blocked)[:50],
                },
            )
            await repository.prune(keep=KEPT_SCANS)
            views = [msgspec.to_builtins(alert_view(row)) for row in await alerts.of_calls({scan.id})]
        for view in views:
            self._bus.publish("alert", view)
        if blocked != blocked_before:
            await self._rollout.roll_out()

    async def _judge(
        self, scan: Scan, facts: ServerFacts, others: dict[str, list[str]], finished_at: datetime
    ) -> ScanResult:
        policy = scan_policy(self._library, scan.policy_name)
        with suppress(RulesetUnavailable):
            # One ruleset of all packs, which the cache usually has; without it the evaluator makes one of each, or says why not.
            await self._prepare_packs(self._library.packs_for(policy))
        judges = await self._evaluator.judges([(policy, 0, "")])
        if run := self._runs.get(scan.id):
            run.stage = "judging"

        def work() -> ScanResult:
            def read(texts: Sequence[Text]) -> list[Finding]:
                return judges.scan(texts, "response")

            return build_result(
                facts,
                assess(facts, read, others),
                policy=scan.policy_name,
                active=scan.active,
                started_at=scan.started_at,
                finished_at=finished_at,
            )

        return await self._workbench.run(work, deadline_seconds=JUDGING_SECONDS)

    async def _wanted(self, actor: Actor, request: StartScanRequest) -> tuple[Scan, ScanTarget]:
        url = request.target_url.strip().rstrip("/")
        if bool(request.proxy_id) == bool(url):
            raise ValidationFailed(fields={"target_url": "Give either a proxy or a URL."})
        if request.proxy_id:
            async with self._database.reader() as session:
                proxy = await ProxyRepository(session, actor.tenant_id).get(request.proxy_id)
            if proxy is None:
                raise ProxyNotFound
            if proxy.type != "mcp":
                raise ValidationFailed(fields={"proxy_id": "Only MCP servers can be scanned."})
            target = await self._targets.of_proxy(proxy)
            shown = proxy.target_url or " ".join(proxy.launch_command)
            return _new_scan(actor, proxy.id, proxy.id, proxy.name, shown, active=request.active), target
        if problem := validation.target_url_problem(url) or loops.console_problem(url, self._console):
            raise ValidationFailed(fields={"target_url": problem})
        key = hashlib.sha256(url.encode()).hexdigest()
        name = urlsplit(url).netloc[:200]
        return _new_scan(actor, "", key, name, url, active=request.active), self._targets.of_url(url)

    def _view(self, scan: Scan) -> ScanView:
        run = self._runs.get(scan.id)
        return ScanView(
            id=scan.id,
            scan_id=scan.id,
            proxy_id=scan.proxy_id,
            name=scan.name,
            target=scan.target,
            policy=scan.policy_name,
            active=scan.active,
            state=scan.state,
            progress=run.percent if run is not None else 100,
            stage=run.stage if run is not None else "",
            error=scan.error or "",
            overall_risk=scan.overall_risk or "",
            risk_score=scan.risk_score or 0,
            passed=bool(scan.passed),
            counts=dict(scan.counts or {}),
            started_at=scan.started_at,
            finished_at=scan.finished_at,
            started_by=scan.started_by,
        )


def _new_scan(actor: Actor, proxy_id: str, key: str, name: str, target: str, *, active: bool) -> Scan:
    return Scan(
        id=ids.new_id("scn"),
        proxy_id=proxy_id,
        target_key=key,
        name=name,
        target=target,
        active=active,
        state="running",
        started_at=clock.utcnow(),
        started_by=actor.username,
        finished_at=None,
    )


def _write(scan: Scan, result: ScanResult, facts: ServerFacts, finished_at: datetime) -> None:
    worst: dict[str, str] = {}
    for finding in result.findings:
        if finding.kind == "tool" and Severity.parse(finding.severity) > Severity.parse(
            worst.get(finding.subject, "info")
        ):
            worst[finding.subject] = finding.severity
    scan.state, scan.finished_at = "done", finished_at
    scan.overall_risk, scan.risk_score, scan.passed = result.overall_risk, result.risk_score, result.passed
    scan.counts = msgspec.structs.asdict(result.summary)
    scan.tool_severities = {_storable(name): word for name, word in worst.items()}
    scan.tool_names = [
        _storable(tool["name"])
        for tool in facts.description.tools
        if type(tool) is dict and type(tool.get("name")) is str
    ]
    scan.result = msgspec.json.encode(result).decode()


async def _with_traffic(repository: ScanRepository, scan: Scan, facts: ServerFacts, now: datetime) -> ServerFacts:
    """The facts with what tools of this proxy answered in recorded calls (SYP-SCAN-4)."""
    if not scan.proxy_id:
        return facts
    rows = await repository.answers_with_alerts(scan.proxy_id, now - timedelta(days=TRAFFIC_DAYS))
    answers: list[ToolAnswer] = []
    for operation, alert in rows:
        method, _, tool = operation.partition(" ")
        if method == "tools/call" and tool and alert.pack in CHECK_OF_PACK:
            said = f"{alert.rule_id} {alert.title}"
            answers.append(ToolAnswer(tool, "traffic", alert.evidence, detail=said))
    gathered = facts.gathered if "traffic" in facts.gathered else (*facts.gathered, "traffic")
    changes: dict[str, Any] = {"tool_answers": (*facts.tool_answers, *answers), "gathered": gathered}
    return msgspec.structs.replace(facts, **changes)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _gate_view(proxy_id: str, gate: ScanGate | None, scan: Scan | None) -> GateView:
    return GateView(
        proxy_id=proxy_id,
        severity=gate.severity if gate is not None else "",
        scan_id=scan.id if scan is not None else "",
        tools=judged(gate, scan) if gate is not None and scan is not None else [],
        changed_at=gate.changed_at if gate is not None else None,
        changed_by=gate.changed_by if gate is not None else "",
    )


async def _existing(repository: ScanRepository, scan_id: str, *, with_result: bool = False) -> Scan:
    scan = await repository.get(scan_id, with_result=with_result)
    if scan is None:
        raise ScanNotFound
    return scan
