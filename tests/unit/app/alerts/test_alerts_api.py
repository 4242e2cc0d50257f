"""Alerts through the API: filters, pages, groups, changes one by one and in bulk."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rules.model import Action, Severity
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.records import blocked_call, finding


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/system/alerts{path}", headers=console.admin, json=body)


async def listed(console: Console, query: str = "") -> dict[str, Any]:
    answer = await send(console, "GET", query)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


@pytest.fixture
async def console(console: Console) -> Console:
    """Six alerts: three high ones of PI-0001, two critical ones of SEC-0001, one low one of LOW-0001."""
    fleet: MemoryFleet = console.app.state.fleet
    secret = finding(
        rule_id="SEC-0001", pack="secrets", severity=Severity.CRITICAL, title="AWS key", evidence="AKIA…16"
    )
    low = finding(rule_id="LOW-0001", severity=Severity.LOW, action=Action.ALERT, title="100%_sure")
    records = [
        blocked_call(proxy_id="prx_a", started_at=1_790_000_000.0, principal_name="app"),
        blocked_call(proxy_id="prx_a", started_at=1_790_000_010.0),
        blocked_call(finding(), secret, proxy_id="prx_b", started_at=1_790_000_020.0, client_ip="192.0.2.9"),
        blocked_call(secret, low, proxy_id="prx_b", started_at=1_790_000_030.0),
    ]
    console.client.blocking_portal.call(fleet.hooks.ingest, records)
    return console


async def test_alerts_are_listed_newest_first(console: Console) -> None:
    data = await listed(console)
    assert data["total"] == 6
    times = [item["created_at"] for item in data["items"]]
    assert times == sorted(times, reverse=True)


async def test_SYP_MON_7_every_filter_narrows_the_list(console: Console) -> None:
    for query, expected in {
        "?severity=critical": 2,
        "?severity=critical&severity=low": 3,
        "?severity=critical,low": 3,
        "?status=open": 6,
        "?status=resolved,false_positive": 0,
        "?proxy_id=prx_a": 2,
        "?rule_id=SEC-0001": 2,
        "?rule_id=SEC-0001&proxy_id=prx_a": 0,
        "?search=aws%20key": 2,
        "?search=AKIA": 2,
        "?search=192.0.2.9": 2,
        "?search=%25_": 1,
        "?search=%25": 1,
        "?search=app": 1,
        "?limit=4": 6,
    }.items():
        assert (await listed(console, query))["total"] == expected, query
    assert [len((await listed(console, f"?limit=4&offset={offset}"))["items"]) for offset in (0, 4, 8)] == [4, 2, 0]


async def test_ADM_20_hostile_filters_are_422_or_find_nothing(console: Console) -> None:
    for query in ("?severity=bad", "?status=' OR 1=1", "?limit=x", "?offset=x"):
        answer = await send(console, "GET", query)
        assert answer.status_code == 422, query
        assert answer.json()["fields"]
    for value in ("' OR 1=1 --", "\\", "\x00", "%%", "x" * 10_000):
        answer = await console.client.get("/api/v1/system/alerts", params={"search": value}, headers=console.admin)
        assert answer.json()["data"]["total"] == 0
    assert len((await listed(console, "?limit=999999&offset=-5"))["items"]) == 6


async def test_the_summary_counts_what_is_open(console: Console) -> None:
    data = (await send(console, "GET", "/summary")).json()["data"]
    assert data["open_by_severity"] == {"critical": 2, "high": 3, "medium": 0, "low": 1, "info": 0}
    assert data["by_status"] == {"open": 6, "acknowledged": 0, "resolved": 0, "false_positive": 0}
    assert data["needs_attention"] == 5


async def test_groups_are_by_rule_and_proxy_under_the_same_filter(console: Console) -> None:
    groups = (await send(console, "GET", "/groups")).json()["data"]
    assert [(group["rule_id"], group["proxy_id"], group["count"]) for group in groups] == [
        ("PI-0001", "prx_a", 2),
        ("SEC-0001", "prx_b", 2),
        ("LOW-0001", "prx_b", 1),
        ("PI-0001", "prx_b", 1),
    ]
    only = (await send(console, "GET", "/groups?severity=low")).json()["data"]
    assert [group["title"] for group in only] == ["100%_sure"]


async def test_SYP_MON_7_an_alert_walks_its_life(console: Console) -> None:
    alert_id = (await listed(console, "?rule_id=LOW-0001"))["items"][0]["id"]
    taken = (await send(console, "POST", f"/{alert_id}/acknowledge")).json()["data"]
    assert (taken["status"], taken["resolved_by"]) == ("acknowledged", None)
    closed = (await send(console, "POST", f"/{alert_id}/resolve", {"note": "rotated the key"})).json()["data"]
    assert (closed["status"], closed["resolved_by"], closed["note"]) == ("resolved", "admin", "rotated the key")
    refused = await send(console, "POST", f"/{alert_id}/acknowledge")
    assert refused.status_code == 409
    assert refused.json()["error_code"] == "alert_status"
    reopened = (await send(console, "POST", f"/{alert_id}/reopen")).json()["data"]
    assert (reopened["status"], reopened["resolved_by"], reopened["note"]) == ("open", None, "rotated the key")
    dismissed = (await send(console, "POST", f"/{alert_id}/false-positive")).json()["data"]
    assert dismissed["status"] == "false_positive"
    assert (await send(console, "GET", f"/{alert_id}")).json()["data"] == dismissed
    audit = await console.client.get("/api/v1/audit?event_type=alert.", headers=console.admin)
    assert [(entry["event_type"], entry["resource"]["id"]) for entry in audit.json()["data"]["items"]] == [
        ("alert.false_positive", alert_id),
        ("alert.reopened", alert_id),
        ("alert.resolved", alert_id),
        ("alert.acknowledged", alert_id),
    ]


async def test_a_bulk_change_counts_what_it_did(console: Console) -> None:
    ids = [item["id"] for item in (await listed(console, "?severity=high"))["items"]]
    await send(console, "POST", f"/{ids[0]}/resolve")
    body = {"alert_ids": [*ids, ids[1], "alr_unknown"], "action": "acknowledge", "note": "seen"}
    answer = await send(console, "POST", "/bulk", body)
    assert answer.json()["data"] == {"changed": 2, "skipped": 1, "missing": 1}
    assert (await listed(console, "?status=acknowledged"))["total"] == 2
    nothing = await send(console, "POST", "/bulk", {"alert_ids": ["alr_unknown"], "action": "resolve"})
    assert nothing.json()["data"] == {"changed": 0, "skipped": 0, "missing": 1}


async def test_ADM_15_a_bad_bulk_change_is_422(console: Console) -> None:
    for body, field in (
        ({"alert_ids": [], "action": "resolve"}, "alert_ids"),
        ({"alert_ids": ["a"] * 501, "action": "resolve"}, "alert_ids"),
        ({"alert_ids": ["a"], "action": "delete"}, "action"),
        ({"alert_ids": ["a"], "action": "resolve", "tenant_id": "x"}, "tenant_id"),
        ({"alert_ids": ["a"]}, "action"),
    ):
        answer = await send(console, "POST", "/bulk", body)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]


async def test_ADM_14_an_unknown_alert_is_404(console: Console) -> None:
    for method, path in (
        ("GET", ""),
        ("POST", "/acknowledge"),
        ("POST", "/resolve"),
        ("POST", "/false-positive"),
        ("POST", "/reopen"),
    ):
        answer = await send(console, method, f"/alr_unknown{path}")
        assert answer.json()["error_code"] == "alert_not_found"
