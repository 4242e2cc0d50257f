"""What is too old goes, in portions; everything else stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from app import clock
from app.alerts.models import AlertedDeclaration
from app.alerts.repository import AlertFilter
from app.jobs import retention as module
from app.jobs.retention import ROLLUP_DAYS, Retention
from app.traffic.repository import CallFilter, TrafficRepository
from app.traffic.window import Window
from rules.model import Action
from tests.support.features import ADMIN, Bench
from tests.support.records import blocked_call, call, finding


async def test_SYP_retention_deletes_by_age_and_keeps_the_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.utcnow()
    ages = {"young": 1, "month": 31, "quarter": 91, "ancient": ROLLUP_DAYS + 1}
    for name, days in ages.items():
        at = (now - timedelta(days=days)).timestamp()
        await bench.features.ingest([blocked_call(id=f"{name}_{number}", started_at=at) for number in range(7)])
    monkeypatch.setattr(module, "PORTION_ROWS", 3)
    await Retention(database=bench.database, alerts_days=90, requests_days=30, audit_days=90).run()
    calls = (await bench.features.traffic.page(ADMIN, CallFilter(), limit=100)).items
    assert {call.id.split("_")[0] for call in calls} == {"young"}
    assert len(calls) == 7
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter(), limit=100)).items
    assert {alert.call_id.split("_")[0] for alert in alerts} == {"young", "month"}
    assert len(alerts) == 14
    everything = Window(hours=24, first_minute=0, last_minute=0)
    async with bench.database.reader() as session:
        row = await TrafficRepository(session).totals(everything)
        rules = await TrafficRepository(session).top_rules(everything, limit=10)
        clients = await TrafficRepository(session).top_clients(everything, limit=10)
        minutes = await TrafficRepository(session).totals(Window(hours=1, first_minute=0, last_minute=0))
    assert (row["blocked"], rules[0]["hits"], clients[0]["calls"], minutes["blocked"]) == (21, 21, 14, 7)


async def test_the_console_runs_retention_with_its_settings(bench: Bench) -> None:
    old = (clock.utcnow() - timedelta(days=bench.settings.retention_requests_days + 1)).timestamp()
    await bench.features.ingest([blocked_call(started_at=old), blocked_call()])
    scheduler = bench.features.scheduler
    await scheduler.run(next(job for job in scheduler.jobs if job.name == "retention"))
    assert (await bench.features.traffic.page(ADMIN, CallFilter())).total == 1
    assert (await bench.features.alerts.page(ADMIN, AlertFilter())).total == 2


async def test_what_stands_in_a_declaration_alerts_again_once_its_alert_is_too_old(bench: Bench) -> None:
    declared = finding(action=Action.ALERT, declaration="a" * 64)
    retention = Retention(database=bench.database, alerts_days=90, requests_days=30, audit_days=90)

    async def listed() -> int:
        await bench.features.ingest([call(findings=(declared,))])
        return (await bench.features.alerts.page(ADMIN, AlertFilter())).total

    assert (await listed(), await listed()) == (1, 1)
    await retention.run()
    assert await listed() == 1
    async with bench.database.writer() as session:
        await session.execute(update(AlertedDeclaration).values(alerted_at=clock.utcnow() - timedelta(days=91)))
    await retention.run()
    assert await listed() == 2
