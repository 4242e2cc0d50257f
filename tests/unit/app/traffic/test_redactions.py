"""What was masked: kept with its call, added up for reports, deleted with it."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from app import clock
from app.traffic.redactions import as_csv
from app.traffic.repository import TrafficRepository
from proxies.contract import CallRecord, Redaction
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.records import call

EMAILS = Redaction("EMAIL", 3, "request", "llm-redaction", "PII-EMAIL-001", restored=5)
KEYS = Redaction("AWS_SECRET", 1, "response", "llm-redaction", "SEC-AWS-001")


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

    now = clock.utcnow()
    report = await bench.features.traffic.redactions(
        ADMIN, since_at=now - timedelta(days=1), until_at=now + timedelta(minutes=1)
    )

    assert (report.calls, report.count, report.restored) == (3, 10, 15)
    assert [(row.type, row.proxy_id, row.calls, row.count) for row in report.rows] == [
        ("EMAIL", "prx_1", 2, 6),
        ("EMAIL", "prx_2", 1, 3),
        ("AWS_SECRET", "prx_1", 1, 1),
    ]
    assert not report.truncated


async def test_redactions_are_deleted_with_their_call(bench: Bench) -> None:
    await bench.features.ingest([masked_call()])
    later = clock.utcnow() + timedelta(days=1)
    async with bench.database.writer() as session:
        await TrafficRepository(session).delete_calls_before(later, limit=10)

    report = await bench.features.traffic.redactions(ADMIN, since_at=datetime(2020, 1, 1, tzinfo=UTC), until_at=later)

    assert report.rows == []
    assert report.count == 0


def ingest(console: Console, *records: CallRecord) -> None:
    console.client.blocking_portal.call(console.app.state.fleet.hooks.ingest, list(records))


async def test_SLG_ROAD_4_the_report_is_exported(console: Console) -> None:
    ingest(console, masked_call())
    path = "/api/v1/redactions/report"

    answer = await console.client.get(path, headers=console.admin)
    file = await console.client.get(f"{path}?format=csv&from=2020-01-01T00:00:00Z", headers=console.admin)
    empty = await console.client.get(f"{path}?to=2020-01-01T00:00:00Z", headers=console.admin)

    assert answer.json()["data"]["count"] == 4
    assert file.headers["content-type"].startswith("text/csv")
    assert "attachment" in file.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert [(row["type"], row["count"], row["rule_id"]) for row in rows] == [
        ("EMAIL", "3", "PII-EMAIL-001"),
        ("AWS_SECRET", "1", "SEC-AWS-001"),
    ]
    assert empty.json()["data"]["rows"] == []


async def test_the_call_page_shows_what_was_masked(console: Console) -> None:
    record = masked_call()
    ingest(console, record)

    page = await console.client.get(f"/traffic/{record.id}", headers=console.admin)

    assert re.search("3 × (<[^>]*>)?EMAIL", page.text)
    assert "5 put back" in page.text


@pytest.mark.parametrize("name", ["=cmd()", "+1", "@x"])
async def test_a_name_cannot_become_a_formula(bench: Bench, name: str) -> None:
    await bench.features.ingest([masked_call(Redaction("EMAIL", 1, "request", name, "PII-1"))])
    now = clock.utcnow()

    report = await bench.features.traffic.redactions(ADMIN, since_at=now - timedelta(days=1), until_at=now)

    assert f",'{name}," in as_csv(report)
