"""Puts the features together on top of what the console has: the counterpart of `application.py` for everything that
concerns proxies. The fleet needs functions of the features and the features need the fleet; that knot is tied here.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from app import clock
from app.access.service import KeyService
from app.alerts.service import AlertService
from app.audit.service import AuditLog
from app.canaries.service import CanaryService
from app.database.engine import Database
from app.errors import Unavailable
from app.feature_jobs import console_jobs, tool_jobs
from app.fleet.announcer import ProxyAnnouncer
from app.fleet.configuration import ConfigurationBuilder
from app.fleet.control import FleetControl, Rollout
from app.fleet.failures import ProxyFailures
from app.fleet.metrics import FleetMetrics
from app.fleet.reconcile import Address
from app.fleet.rulesets import Rulesets
from app.fleet.server_trial import ServerTrials
from app.fleet.service import ProxyService
from app.fleet.snapshot import Configuration
from app.fleet.state import ProxyState, ProxyStatus
from app.fleet.supervisor import Fleet
from app.fleet.worker import ScanOrder, ScanReport, ToolOrder, ToolReport, WorkerStatus
from app.guidelines.service import GuidelineService
from app.http.events import EventBus
from app.jobs.scheduler import Scheduler
from app.launch.service import LaunchService
from app.lifespan import Part
from app.overview.service import OverviewService
from app.paths import DataDirectory
from app.policies.damage import DamageReport
from app.policies.evaluation import Evaluator
from app.policies.feedback import Feedback
from app.policies.global_policies import GlobalPolicyService
from app.policies.library import PolicyLibrary
from app.policies.replays import Replays
from app.policies.service import PolicyService
from app.policies.tag_policies import TagPolicyService
from app.policies.workbench import Workbench
from app.scanner.service import ScannerService
from app.scanner.targets import Targets
from app.security.vault import Vault
from app.settings import Settings
from app.system.metrics import Metrics
from app.tools.decisions import ToolDecisions
from app.tools.discovery import Discovery
from app.tools.findings import DeclarationRules
from app.tools.holds import Holds
from app.tools.intake import ToolIntake
from app.tools.judge import Judge
from app.tools.service import ToolService
from app.tools.turns import Turns
from app.tools.usage import UsageService
from app.tools.work import Works
from app.traffic.ingest import Ingest
from app.traffic.metrics import TrafficMetrics
from app.traffic.rate import RateMeter
from app.traffic.service import TrafficService
from proxies.contract import CallRecord, ProxyConfig, ServerReport


class FleetPart(FleetControl, Protocol):
    """A fleet with a life."""

    async def start(self) -> None:
        """Start the workers and the proxies that start by themselves."""
        ...

    async def stop(self) -> None:
        """Drain and stop everything."""
        ...


class FleetHooks(msgspec.Struct, frozen=True):
    """What a fleet asks of the console."""

    load_configuration: Callable[[], Awaitable[Configuration]]
    ingest: Callable[[Sequence[CallRecord]], Awaitable[None]]
    on_status: Callable[[ProxyStatus], None]
    on_scan: Callable[[ScanReport], None]
    on_tools: Callable[[ToolReport], None]


FleetFactory = Callable[[FleetHooks], FleetPart]


def worker_fleet(settings: Settings) -> FleetFactory:
    """The real thing: worker processes and listening sockets."""

    def make(hooks: FleetHooks) -> FleetPart:
        return Fleet(
            settings=settings,
            load_configuration=hooks.load_configuration,
            ingest=hooks.ingest,
            on_status=hooks.on_status,
            on_scan=hooks.on_scan,
            on_tools=hooks.on_tools,
        )

    return make


class NoFleet:
    """Stands in where the console runs without workers: everything is stopped, nothing can be started."""

    first_rules_count = 0
    calls_dropped = 0
    texts_dropped = 0
    worker_deaths = 0

    def __init__(self, since_at: datetime) -> None:
        self._since_at = since_at

    def __repr__(self) -> str:
        return "<NoFleet>"

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def refresh(self) -> None:
        """Nobody to tell."""

    async def scan(self, order: ScanOrder) -> bool:
        """Nobody to scan."""
        return False

    async def order(self, proxy_id: str, message: ToolOrder) -> bool:
        """Nobody to tell."""
        return False

    async def start_proxy(self, proxy_id: str) -> ProxyStatus:
        """Raises Unavailable."""
        raise Unavailable("This console runs without workers.")

    restart_proxy = start_proxy

    async def stop_proxy(self, proxy_id: str) -> ProxyStatus:
        """It is stopped."""
        return self.status(proxy_id)

    def statuses(self) -> dict[str, ProxyStatus]:
        """None."""
        return {}

    def workers(self) -> Sequence[WorkerStatus]:
        """None."""
        return ()

    def server_report(self, proxy_id: str) -> ServerReport | None:
        """No server is started."""
        return None

    def running(self, proxy_id: str) -> ProxyConfig | None:
        """Nobody serves anything."""
        return None

    def status(self, proxy_id: str) -> ProxyStatus:
        """Stopped since the console started."""
        return ProxyStatus(
            proxy_id=proxy_id,
            state=ProxyState.STOPPED,
            reason="",
            since_at=self._since_at,
            workers_live=0,
            workers_total=0,
            snapshot_version=0,
        )


class Features(msgspec.Struct, frozen=True):
    """Every service of the features, and their parts in the order in which they start."""

    library: PolicyLibrary
    rulesets: Rulesets
    policies: PolicyService
    evaluator: Evaluator
    replays: Replays
    feedback: Feedback
    global_policies: GlobalPolicyService
    tag_policies: TagPolicyService
    proxies: ProxyService
    keys: KeyService
    canaries: CanaryService
    guidelines: GuidelineService
    launch: LaunchService
    scanner: ScannerService
    tools: ToolService
    decisions: ToolDecisions
    discovery: Discovery
    holds: Holds
    usage: UsageService
    tool_intake: ToolIntake
    traffic: TrafficService
    alerts: AlertService
    overview: OverviewService
    scheduler: Scheduler
    ingest: Ingest
    fleet: FleetPart
    parts: tuple[Part, ...]


NAMES = (
    "library",
    "rulesets",
    "policies",
    "evaluator",
    "replays",
    "feedback",
    "global_policies",
    "tag_policies",
    "proxies",
    "keys",
    "canaries",
    "guidelines",
    "launch",
    "scanner",
    "tools",
    "decisions",
    "discovery",
    "holds",
    "usage",
    "traffic",
    "alerts",
    "overview",
    "scheduler",
)
"""What handlers may ask for by name."""


def build_features(
    *,
    settings: Settings,
    directory: DataDirectory,
    database: Database,
    vault: Vault,
    audit: AuditLog,
    bus: EventBus,
    metrics: Metrics,
    library: PolicyLibrary,
    make_fleet: FleetFactory | None,
) -> Features:
    """Make every service once."""
    rate = RateMeter(lambda: clock.utcnow().timestamp())
    ingest = Ingest(
        database=database,
        library=library,
        audit=audit,
        vault=vault,
        bus=bus,
        rate=rate,
        metrics=TrafficMetrics(metrics.registry),
    )
    rulesets = Rulesets(library, settings.cache_dir or directory.cache)
    configuration = ConfigurationBuilder(
        database=database,
        library=library,
        vault=vault,
        rulesets=rulesets,
        data_directory=directory.root,
        environ=os.environ,
        limits=settings.limits,
        upstream_proxies=settings.upstream_proxies,
        serves=lambda proxy_id: status_of(proxy_id).state.serves,
        context_firewall=settings.context_firewall,
        decision_service=settings.decision_service,
    )

    def status_of(proxy_id: str) -> ProxyStatus:
        return fleet.status(proxy_id)

    announcer = ProxyAnnouncer(database=database, library=library, bus=bus, status_of=status_of)
    failures = ProxyFailures(database=database, audit=audit, bus=bus)

    def on_status(status: ProxyStatus) -> None:
        announcer.on_status(status)
        failures.on_status(status)
        discovery.on_status(status)

    def on_scan(report: ScanReport) -> None:
        scanner.on_scan(report)

    async def order(proxy_id: str, message: ToolOrder) -> bool:
        return await fleet.order(proxy_id, message)

    def on_tools(report: ToolReport) -> None:
        tool_intake.on_report(report)

    turns = Turns()
    declaration_rules = DeclarationRules(library=library, rulesets=rulesets)
    discovery = Discovery(
        database=database, bus=bus, order=order, serves=lambda proxy_id: status_of(proxy_id).state.serves
    )
    holds = Holds(database=database, audit=audit, vault=vault, bus=bus, order=order)
    hooks = FleetHooks(
        load_configuration=configuration.load,
        ingest=ingest,
        on_status=on_status,
        on_scan=on_scan,
        on_tools=on_tools,
    )
    fleet: FleetPart = make_fleet(hooks) if make_fleet else NoFleet(clock.utcnow())
    FleetMetrics(fleet, metrics.registry)
    rollout = Rollout(fleet)
    rulesets.on_compiled = rollout.roll_out_soon
    tool_intake = ToolIntake(
        judge=Judge(database=database, audit=audit, bus=bus, rules=declaration_rules, turns=turns),
        rollout=rollout,
        order=order,
        on_judged=discovery.settled,
        on_hold=holds.note,
    )
    usage = UsageService(database=database, bus=bus)
    overview = OverviewService(
        database=database,
        fleet=fleet,
        rollout=rollout,
        rate=rate,
        is_scheduler_late=lambda: scheduler.is_late,
    )
    scheduler = Scheduler(
        [
            *console_jobs(settings, database, bus, rollout, overview, rulesets),
            *tool_jobs(discovery, usage, declaration_rules),
        ]
    )
    workbench = Workbench()
    policies = PolicyService(
        database=database,
        audit=audit,
        library=library,
        rollout=rollout,
        prepare_packs=rulesets.of_packs,
        workbench=workbench,
    )
    evaluator = Evaluator(
        library=library, rulesets=rulesets, workbench=workbench, context_firewall=settings.context_firewall
    )
    replays = Replays(
        database=database,
        audit=audit,
        library=library,
        policies=policies,
        evaluator=evaluator,
        workbench=workbench,
        vault=vault,
    )
    damage = DamageReport(database=database, audit=audit, bus=bus, library=library)
    scanner = ScannerService(
        database=database,
        audit=audit,
        bus=bus,
        library=library,
        evaluator=evaluator,
        workbench=workbench,
        targets=Targets(configuration.load, settings.upstream_proxies),
        fleet=fleet,
        rollout=rollout,
        prepare_packs=rulesets.of_packs,
        console=Address(settings.host, settings.port),
    )
    return Features(
        library=library,
        rulesets=rulesets,
        policies=policies,
        evaluator=evaluator,
        replays=replays,
        feedback=Feedback(database=database, audit=audit),
        global_policies=GlobalPolicyService(
            database=database, audit=audit, library=library, rollout=rollout, prepare_rules=rulesets.prepare
        ),
        tag_policies=TagPolicyService(
            database=database, audit=audit, library=library, rollout=rollout, prepare_rules=rulesets.prepare
        ),
        proxies=ProxyService(
            database=database,
            audit=audit,
            library=library,
            vault=vault,
            fleet=fleet,
            rollout=rollout,
            announce=announcer.announce,
            prepare_rules=rulesets.prepare,
            console=Address(settings.host, settings.port),
            upstream_proxies=settings.upstream_proxies,
            trials=ServerTrials(database=database, audit=audit, environ=os.environ, data_directory=directory.root),
        ),
        keys=KeyService(
            database=database, audit=audit, rollout=rollout, library=library, prepare_rules=rulesets.prepare
        ),
        canaries=CanaryService(database=database, audit=audit, vault=vault, rollout=rollout),
        guidelines=GuidelineService(database=database, audit=audit),
        launch=LaunchService(database=database, audit=audit, rollout=rollout),
        scanner=scanner,
        tools=ToolService(database=database, discovery=discovery),
        decisions=ToolDecisions(
            database=database, audit=audit, works=Works(database=database, bus=bus, rollout=rollout, turns=turns)
        ),
        discovery=discovery,
        holds=holds,
        usage=usage,
        tool_intake=tool_intake,
        traffic=TrafficService(database=database, vault=vault),
        alerts=AlertService(database=database, audit=audit, bus=bus),
        overview=overview,
        scheduler=scheduler,
        ingest=ingest,
        fleet=fleet,
        parts=(
            Part("policies", policies.reload, replays.stop),
            Part("damage", damage.start, damage.stop),
            Part("announcer", announcer.start, announcer.stop),
            Part("failures", failures.start, failures.stop),
            Part("scanner", scanner.start, scanner.stop),
            Part("held_calls", holds.start, discovery.stop),
            Part("tools", tool_intake.start, tool_intake.stop),
            Part("fleet", fleet.start, fleet.stop, settings.drain_timeout_seconds + 5),
            Part("scheduler", scheduler.start, scheduler.stop),
        ),
    )
