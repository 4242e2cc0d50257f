"""The overview: what runs, what needs a person, what happened."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app import clock
from app.access.schemas import CreateKey
from app.alerts.schemas import BulkChange
from app.alerts.workflow import AlertAction
from rules.model import Severity
from tests.support.features import ADMIN, Bench, drain
from tests.support.records import blocked_call, call, finding


async def test_an_empty_console_shows_the_first_steps(bench: Bench) -> None:
    view = await bench.features.overview.overview(ADMIN)
    steps = view.get_started
    assert (steps.has_proxy, steps.has_running_proxy, steps.has_api_key, steps.has_call) == (False,) * 4
    assert (view.proxies_total, view.calls_today, view.added_p99_ms, view.attention) == (0, 0, None, [])
    assert 138 < len(view.points) <= 144  # The first step begins with a whole hour.
    assert view.step_seconds == 600


async def test_the_numbers_are_those_of_the_traffic(bench: Bench) -> None:
    proxy = await bench.proxy()
    await bench.features.keys.create(ADMIN, CreateKey(name="app"))
    await bench.features.proxies.start(ADMIN, proxy.id)
    now = clock.utcnow()
    yesterday = (now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(minutes=5)).timestamp()
    batch = [call(proxy_id=proxy.id), blocked_call(proxy_id=proxy.id), blocked_call(proxy_id=proxy.id)]
    await bench.features.ingest([*batch, blocked_call(proxy_id=proxy.id, started_at=yesterday)])
    view = await bench.features.overview.overview(ADMIN)
    assert (view.calls_today, view.blocked_today) == (3, 2)
    assert view.proxies_by_state["running"] == view.proxies_total == 1
    assert [(rule.rule_id, rule.hits, rule.blocked) for rule in view.rules_today] == [("PI-0001", 2, 2)]
    assert [(client.client, client.calls) for client in view.top_clients] == [("127.0.0.1", 3)]
    summary = view.proxies[0]
    assert (summary.id, summary.state) == (proxy.id, "running")
    assert summary.blocked >= 2
    assert view.added_p99_ms is not None
    assert sum(point.blocked for point in view.points) == view.totals.blocked
    assert view.alerts_open == view.alerts_needing_attention == 3
    steps = view.get_started
    assert (steps.has_proxy, steps.has_running_proxy, steps.has_api_key, steps.has_call) == (True,) * 4


async def test_what_needs_a_person_comes_worst_first(bench: Bench) -> None:
    proxy = await bench.proxy()
    bench.fleet.fail_with = "Port 4000 is in use."
    with pytest.raises(Exception, match="in use"):
        await bench.features.proxies.start(ADMIN, proxy.id)
    critical = finding(rule_id="SEC-0001", severity=Severity.CRITICAL, title="Key")
    low = finding(rule_id="LOW-0001", severity=Severity.LOW)
    await bench.features.ingest([blocked_call(finding(), low, proxy_id=proxy.id), blocked_call(critical)])
    async with asyncio.timeout(20):
        # The alert of the proxy itself is written behind the call that failed.
        while len(items := (await bench.features.overview.overview(ADMIN)).attention) < 4:
            await asyncio.sleep(0.01)
    assert [(item.kind, item.severity) for item in items] == [
        ("proxy_failed", "critical"),
        ("alert", "critical"),
        ("alert", "high"),
        ("alert", "high"),
    ]
    assert (items[0].id, items[0].detail) == (proxy.id, "Port 4000 is in use.")
    acknowledged = BulkChange(alert_ids=[item.id for item in items[1:]], action=AlertAction.ACKNOWLEDGE)
    await bench.features.alerts.change_many(ADMIN, acknowledged)
    assert len((await bench.features.overview.overview(ADMIN)).attention) == 1


async def test_live_figures_are_published_while_somebody_listens_and_when_they_change(bench: Bench) -> None:
    scheduler = bench.features.scheduler
    live = next(job for job in scheduler.jobs if job.name == "live_stats")
    await scheduler.run(live)
    subscription = bench.bus.subscribe(["stats"])
    await scheduler.run(live)
    await scheduler.run(live)
    assert [event.data["blocked_today"] for event in await drain(subscription)] == [0]
    await bench.features.ingest([blocked_call()])
    await scheduler.run(live)
    event = (await drain(subscription))[0]
    assert (event.topic, event.data["blocked_today"], event.data["alerts_needing_attention"]) == ("stats", 1, 1)
    assert scheduler.reports["live_stats"].failures == 0
