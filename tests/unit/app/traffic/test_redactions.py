"""What was masked: kept with its call, added up for reports, deleted with it."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from app import clock
from app.errors import ValidationFailed
from app.traffic.redaction_files import entries_csv, totals_csv
from app.traffic.redaction_report import MAX_RANGE_DAYS, RedactionFilter
from app.traffic.redactions_pages import range_of
from app.traffic.repository import TrafficRepository
from proxies.contract import CallRecord, Redaction
from tests.support.console import PASSWORD, Console
from tests.support.features import ADMIN, Bench
from tests.support.records import call
from tests.support.tab import Tab, tab_of

EMAILS = Redaction("EMAIL", 3, "request", "llm-redaction", "PII-EMAIL-001", restored=5)
KEYS = Redaction("AWS_SECRET", 1, "response", "llm-redaction", "SEC-AWS-001")


def last_day(**restrictions: str) -> RedactionFilter:
    now = clock.utcnow()
    return RedactionFilter(since_at=now - timedelta(days=1), until_at=now + timedelta(minutes=1), **restrictions)


def masked_call(*redactions: Redaction, **changes: object) -> CallRecord:
    return call(redactions=redactions or (EMAILS, KEYS), **changes)


async def test_SLG_ROAD_4_a_call_says_what_was_masked_in_it(bench: Bench) -> None:
    record = masked_call()
    await bench.features.ingest([record, call()])
    await bench.features.ingest([record])

    detail = await bench.features.traffic.get(ADMIN, record.id)

    assert [(one.type, one.direction, one.count, one.restored) for one in detail.redactions] == [
        ("EMAIL", "request", 3, 5),
        ("AWS_SECRET", "response", 1, 0),
    ]


async def test_SLG_ROAD_4_a_report_adds_up_by_type_direction_policy_rule_and_proxy(bench: Bench) -> None:
    old = (clock.utcnow() - timedelta(days=90)).timestamp()
    await bench.features.ingest(
        [masked_call(), masked_call(EMAILS), masked_call(EMAILS, proxy_id="prx_2"), masked_call(started_at=old)]
    )

    report = await bench.features.traffic.redactions(ADMIN, last_day())

    assert (report.calls, report.count, report.restored) == (3, 10, 15)
    assert [(row.type, row.proxy_id, row.calls, row.count) for row in report.rows] == [
        ("EMAIL", "prx_1", 2, 6),
        ("EMAIL", "prx_2", 1, 3),
        ("AWS_SECRET", "prx_1", 1, 1),
    ]
    assert not report.truncated


async def test_SLG_ROAD_4_a_call_that_only_gave_back_what_another_masked_is_none_with_masked_values(
    bench: Bench,
) -> None:
    given_back = Redaction("EMAIL", 0, "request", "llm-redaction", "PII-EMAIL-001", restored=2)
    await bench.features.ingest([masked_call(EMAILS), masked_call(given_back)])

    report = await bench.features.traffic.redactions(ADMIN, last_day())

    assert (report.calls, report.count, report.restored) == (1, 3, 7)
    assert [(row.calls, row.count, row.restored) for row in report.rows] == [(1, 3, 7)]
    assert [(one.calls, one.count, one.restored) for one in report.clients] == [(1, 3, 7)]


async def test_redactions_are_deleted_with_their_call(bench: Bench) -> None:
    await bench.features.ingest([masked_call()])
    later = clock.utcnow() + timedelta(days=1)
    async with bench.database.writer() as session:
        await TrafficRepository(session).delete_calls_before(later, limit=10)

    report = await bench.features.traffic.redactions(ADMIN, last_day())

    assert report.rows == []
    assert report.count == 0


def ingest(console: Console, *records: CallRecord) -> None:
    console.client.blocking_portal.call(console.app.state.fleet.hooks.ingest, list(records))


async def test_SLG_ROAD_4_the_report_is_exported(console: Console) -> None:
    ingest(console, masked_call())
    path = "/api/v1/redactions/report"

    answer = await console.client.get(path, headers=console.admin)
    file = await console.client.get(f"{path}?format=csv&from=2026-01-01T00:00:00Z", headers=console.admin)
    by_call = await console.client.get("/api/v1/redactions?format=csv", headers=console.admin)
    listed = await console.client.get("/api/v1/redactions?limit=1", headers=console.admin)
    empty = await console.client.get(f"{path}?to=2020-01-01T00:00:00Z", headers=console.admin)
    backwards = await console.client.get(
        f"{path}?from=2026-01-01T00:00:00Z&to=2020-01-01T00:00:00Z", headers=console.admin
    )

    assert answer.json()["data"]["count"] == 4
    assert file.headers["content-type"].startswith("text/csv")
    assert "attachment" in file.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert [(row["type"], row["count"], row["rule_id"]) for row in rows] == [
        ("EMAIL", "3", "PII-EMAIL-001"),
        ("AWS_SECRET", "1", "SEC-AWS-001"),
    ]
    assert [row["type"] for row in csv.DictReader(io.StringIO(by_call.text))] == ["AWS_SECRET", "EMAIL"][::-1]
    assert listed.json()["data"]["total"] == 2
    assert empty.json()["data"]["rows"] == []
    assert backwards.status_code == 422
    assert "ends before it begins" in backwards.text


async def test_the_call_page_shows_what_was_masked(console: Console) -> None:
    record = masked_call()
    ingest(console, record)

    page = await console.client.get(f"/traffic/{record.id}", headers=console.admin)

    assert re.search("3 × (<[^>]*>)?EMAIL", page.text)
    assert "5 put back" in page.text


@pytest.mark.parametrize("name", ["=cmd()", "+1", "@x"])
async def test_a_name_cannot_become_a_formula(bench: Bench, name: str) -> None:
    await bench.features.ingest([masked_call(Redaction("EMAIL", 1, "request", name, "PII-1"), principal_name=name)])

    report = await bench.features.traffic.redactions(ADMIN, last_day())
    entries = await bench.features.traffic.redaction_entries(ADMIN, last_day(), limit=10)

    assert f",'{name}," in totals_csv(report)
    assert entries_csv(entries.items).count(f",'{name},") == 2


async def test_SLG_ROAD_4_a_report_adds_up_by_client_and_over_time_and_is_narrowed(bench: Bench) -> None:
    day = timedelta(days=1)
    yesterday = (clock.utcnow() - day / 2).timestamp()
    await bench.features.ingest(
        [masked_call(principal_name="growth"), masked_call(EMAILS, client_ip="192.0.2.7", started_at=yesterday)]
    )

    report = await bench.features.traffic.redactions(ADMIN, last_day())
    keys = await bench.features.traffic.redactions(ADMIN, last_day(type="AWS_SECRET", direction="response"))
    none = await bench.features.traffic.redactions(ADMIN, last_day(rule_id="PII-EMAIL-001", proxy_id="prx_9"))

    assert [(one.client, one.calls, one.count) for one in report.clients] == [("growth", 1, 4), ("192.0.2.7", 1, 3)]
    assert report.step_seconds == 3600
    assert [(point.request, point.response) for point in report.points if point.request] == [(3, 0), (3, 1)]
    assert len(report.points) in (25, 26), "the hours without anything are points as well"
    assert (keys.calls, keys.count, none.count) == (1, 1, 0)


async def test_SLG_ROAD_4_what_was_masked_is_listed_call_by_call(bench: Bench) -> None:
    first, second = (
        masked_call(EMAILS, principal_name="growth", started_at=clock.utcnow().timestamp() - 60),
        masked_call(),
    )
    await bench.features.ingest([first, second])

    listing = await bench.features.traffic.redaction_entries(ADMIN, last_day(), limit=2)
    older = await bench.features.traffic.redaction_entries(ADMIN, last_day(), limit=2, offset=2)

    assert listing.total == 3
    assert [entry.call_id for entry in (*listing.items, *older.items)] == [second.id, second.id, first.id]
    (entry,) = older.items
    assert (entry.client, entry.type, entry.direction, entry.policy, entry.rule_id, entry.count) == (
        *("growth", "EMAIL", "request", "llm-redaction", "PII-EMAIL-001"),
        3,
    )


def test_a_range_is_a_preset_or_two_whole_days() -> None:
    now = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
    assert range_of("7", "", "", now).since_at == now - timedelta(days=7)
    assert range_of("8", "", "", now).days == "30"
    chosen = range_of("7", "2026-11-01", "2026-11-02", now)
    assert (chosen.days, chosen.words) == ("", "from 2026-11-01 to 2026-11-02")
    assert chosen.until_at - chosen.since_at == timedelta(days=2)
    for first, last in (("yesterday", ""), ("2026-13-01", ""), ("0001-01-01", ""), ("", "2026-11-01")):
        with pytest.raises(ValidationFailed):
            range_of("", first, last, now)
    with pytest.raises(ValidationFailed):
        RedactionFilter(since_at=now, until_at=now)
    with pytest.raises(ValidationFailed):
        RedactionFilter(since_at=now - timedelta(days=MAX_RANGE_DAYS + 1), until_at=now)


async def test_SLG_ROAD_4_the_page_reports_a_date_range(console: Console, tab: Tab) -> None:
    assert "Nothing was masked in the last 30 days." in (await tab.get("/redactions")).text
    record = masked_call(principal_name="<b>growth\u202e")
    ingest(console, record, masked_call(EMAILS))

    page = (await tab.get("/redactions")).text
    narrowed = (await tab.get("/redactions?days=7&type=AWS_SECRET&rule_id=SEC-AWS-001")).text
    empty = (await tab.get("/redactions?from=2020-01-01&to=2020-01-31")).text

    assert f'href="/traffic/{record.id}"' in page
    assert "&lt;b&gt;growth" in page
    assert "<b>growth" not in page
    assert ">RLO<" in page
    assert 'class="bar-response"' in page
    assert "By type" not in narrowed
    assert "PII-EMAIL-001" not in narrowed
    assert "format=csv&amp;from=" in narrowed
    assert "rule_id=SEC-AWS-001" in narrowed
    assert "Nothing was masked from 2020-01-01 to 2020-01-31." in empty


async def test_the_page_says_what_is_wrong_with_a_range(tab: Tab) -> None:
    answer = await tab.get("/redactions?from=2026-11-20&to=2026-11-01")

    assert answer.status_code == 422
    assert "The range ends before it begins." in answer.text
    assert 'value="2026-11-20"' in answer.text


async def test_a_viewer_reads_the_report_and_nobody_else(console: Console) -> None:
    await console.create_person("eve", "viewer")
    viewer = await tab_of(console, "eve", f"{PASSWORD} too")

    assert (await viewer.get("/redactions")).status_code == 200
    assert (await viewer.get("/api/v1/redactions")).status_code == 200
    assert (await console.client.get("/redactions", follow_redirects=False)).status_code == 303
    assert (await console.client.get("/api/v1/redactions")).status_code == 401
