"""The pages of the alerts: one, many, and the filter."""

from __future__ import annotations

import msgspec
import pytest

from app import clock
from app.alerts import service as alert_service
from app.alerts.recording import failure_row
from app.alerts.repository import AlertRepository
from app.database.base import DEFAULT_TENANT
from rules.model import Severity
from tests.support.console import Console
from tests.support.records import finding
from tests.support.tab import (
    HTMX,
    Tab,
    alert_id,
    blocked,
    ingest,
    make_proxy,
)


async def test_an_alert_is_triaged_with_a_note_and_a_way_back(console: Console, tab: Tab) -> None:
    await ingest(console, blocked(await make_proxy(console)))
    found = await alert_id(console)
    row = await tab.post(f"/alerts/{found}/acknowledge", **HTMX)
    assert "acknowledged" in row.text
    assert f'action="/alerts/{found}/reopen"' in row.text
    again = await tab.post(f"/alerts/{found}/acknowledge", **HTMX)
    assert again.status_code == 409
    plain = await tab.post(f"/alerts/{found}/acknowledge", {"back": "/alerts?status=any"})
    assert plain.headers["location"] == "/alerts?status=any"
    await tab.post(f"/alerts/{found}/resolve", {"note": "A drill.", "back": f"/alerts/{found}"})
    detail = (await tab.get(f"/alerts/{found}")).text
    assert "A drill." in detail
    assert (await tab.post(f"/alerts/{found}/explode")).status_code == 404


async def test_an_alert_of_the_gateway_itself_says_nothing_about_messages_and_clients(
    console: Console, tab: Tab
) -> None:
    proxy_id = await make_proxy(console)
    row = failure_row(
        "evt_1",
        tenant_id=DEFAULT_TENANT,
        proxy=(proxy_id, "openai", "llm"),
        serves=False,
        reason="Port 4000 is taken.",
        now=clock.utcnow(),
    )
    async with console.app.state.database.writer() as session:
        await AlertRepository(session).add_new([row])
    assert "the gateway itself" in (await tab.get("/alerts")).text
    detail = (await tab.get(f"/alerts/{row['id']}")).text
    assert "Port 4000 is taken." in detail
    assert 'href="/policies/gateway"' not in detail, "there is no such policy"
    for said_of_calls in ("The message went on", "masked", "<dt>Client</dt>", "<dt>Key</dt>"):
        assert said_of_calls not in detail


async def test_many_alerts_change_together(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, blocked(proxy_id, 1), blocked(proxy_id, 2))
    listed = await console.client.get("/api/v1/system/alerts", headers=console.admin)
    ids = [alert["id"] for alert in listed.json()["data"]["items"]]
    form = {"alert_ids": ids, "action": "resolve", "back": "/alerts"}
    answer = await tab.post("/alerts/bulk", form)
    assert answer.headers["location"] == "/alerts"
    assert "No open alert" in (await tab.get("/alerts")).text
    assert (await tab.post("/alerts/bulk", {**form, "action": "reopen"})).status_code == 303
    assert (await tab.post("/alerts/bulk", {"action": "resolve"})).headers["location"] == "/alerts"
    assert (await tab.post("/alerts/bulk", {**form, "action": "explode"})).status_code == 422


async def test_the_alerts_page_ignores_words_that_are_no_filter(console: Console, tab: Tab) -> None:
    await ingest(console, blocked(await make_proxy(console)))
    assert "PI-0001" in (await tab.get("/alerts?status=%27--&severity=none")).text
    assert "No alert matches" in (await tab.get("/alerts?severity=low")).text
    assert "PI-0001" in (await tab.get("/alerts?status=any&rule_id=PI-0001&search=ignore")).text


async def test_the_rail_counts_what_is_urgent_and_stops_where_nobody_reads_on(
    console: Console, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    severities = (Severity.LOW, Severity.HIGH, Severity.CRITICAL, Severity.HIGH)
    await ingest(
        console,
        *(
            msgspec.structs.replace(
                blocked("prx_1", number), findings=(finding(severity=severity, rule_id=f"R-{number}"),)
            )
            for number, severity in enumerate(severities, 1)
        ),
    )
    assert 'aria-label="3 open critical and high alerts"' in (await tab.get("/audit")).text
    overview = (await tab.get("/")).text
    assert 0 < overview.index("sev-critical") < overview.index("sev-high"), "the worst stands first"
    monkeypatch.setattr(alert_service, "MAX_URGENT", 2)
    assert 'aria-label="2 open critical and high alerts"' in (await tab.get("/audit")).text
