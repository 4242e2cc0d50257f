"""What the features do by the clock."""

from __future__ import annotations

from app.database.engine import Database
from app.fleet.control import Rollout
from app.fleet.rulesets import Rulesets
from app.http.events import EventBus
from app.jobs import deletions
from app.jobs.deletions import Deletions
from app.jobs.live_stats import LiveStatsJob
from app.jobs.retention import Retention
from app.jobs.scheduler import Job
from app.overview.service import OverviewService
from app.settings import Settings
from app.tools import discovery as tool_discovery
from app.tools import usage as tool_usage
from app.tools.discovery import Discovery
from app.tools.findings import DeclarationRules
from app.tools.usage import UsageService

RETRY_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
STATS_SECONDS = 2.0
WARM_UP_AFTER_SECONDS = 20.0  # Once the start is over; nobody creates a proxy sooner by hand.
WARM_UP_SECONDS = 86_400.0


def tool_jobs(discovery: Discovery, usage: UsageService, rules: DeclarationRules) -> list[Job]:
    """The jobs of the tools."""
    return [
        Job(
            name="tool_discovery",
            run=discovery.run_due,
            every_seconds=tool_discovery.EVERY_SECONDS,
            deadline_seconds=30,
        ),
        Job(name="tool_use", run=usage.look, every_seconds=tool_usage.EVERY_SECONDS, deadline_seconds=60),
        Job(
            name="tool_rules",
            run=rules.prepare,
            every_seconds=WARM_UP_SECONDS,
            deadline_seconds=600,
            first_after_seconds=WARM_UP_AFTER_SECONDS / 4,
        ),
    ]


def console_jobs(
    settings: Settings,
    database: Database,
    bus: EventBus,
    rollout: Rollout,
    overview: OverviewService,
    rulesets: Rulesets,
) -> list[Job]:
    """The jobs of the console itself."""
    retention = Retention(
        database=database,
        alerts_days=settings.retention_alerts_days,
        requests_days=settings.retention_requests_days,
        audit_days=settings.retention_audit_days,
    )
    live_stats = LiveStatsJob(overview=overview, bus=bus)
    return [
        Job(
            name="retention",
            run=retention.run,
            every_seconds=RETENTION_SECONDS,
            deadline_seconds=600,
            first_after_seconds=60,
        ),
        Job(
            name="rulesets",
            run=rulesets.warm_up,
            every_seconds=WARM_UP_SECONDS,
            deadline_seconds=600,
            first_after_seconds=WARM_UP_AFTER_SECONDS,
        ),
        Job(
            name="deletions",
            run=Deletions(database).run,
            every_seconds=deletions.EVERY_SECONDS,
            deadline_seconds=60,
            first_after_seconds=0,
        ),
        Job(name="live_stats", run=live_stats.run, every_seconds=STATS_SECONDS, deadline_seconds=10),
        Job(name="rollout_retry", run=rollout.retry, every_seconds=RETRY_SECONDS, deadline_seconds=60),
    ]
