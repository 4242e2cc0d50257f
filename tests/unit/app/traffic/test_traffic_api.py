"""The request log and the summary through the API."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from app.traffic import repository
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.records import blocked_call, call

PROXY = {"name": "P", "type": "llm", "target_url": "https://api.example.org", "port": 4000}


async def get(console: Console, path: str, **params: Any) -> httpx.Response:
    return await console.client.get(f"/api/v1/{path}", params=params, headers=console.admin)


async def found(console: Console, **params: Any) -> list[str]:
    answer = await get(console, "traffic", **params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["data"]["items"]]


@pytest.fixture
async def console(console: Console) -> Console:
    """Four calls, one a second, the last one first in the list."""
    fleet: MemoryFleet = console.app.state.fleet
    at = time.time() - 100
    records = [
        call(id="call_a", proxy_id="prx_a", started_at=at, operation="gpt-4o", principal_name="app"),
        blocked_call(id="call_b", proxy_id="prx_b", started_at=at + 1, client_ip="192.0.2.7"),
        call(id="call_c", proxy_id="prx_a", started_at=at + 2, outcome="refused", status=401, path="/v1/models"),
        call(
            id="call_d",
            proxy_id="prx_b",
            started_at=at + 3,
            outcome="upstream_error",
            status=502,
            protocol="mcp.modern",
        ),
    ]
    console.client.blocking_portal.call(fleet.hooks.ingest, records)
    return console


async def test_calls_are_listed_newest_first_and_paged(console: Console) -> None:
    assert await found(console) == ["call_d", "call_c", "call_b", "call_a"]
    assert await found(console, limit=2, offset=1) == ["call_c", "call_b"]
    data = (await get(console, "traffic", limit=1)).json()["data"]
    assert (data["total"], data["total_is_exact"], data["limit"]) == (4, True, 1)


async def test_every_filter_narrows_the_list(console: Console) -> None:
    newest = (await get(console, "traffic/call_d")).json()["data"]["started_at"]
    for params, expected in (
        ({"proxy_id": "prx_a"}, ["call_c", "call_a"]),
        ({"verdict": "blocked"}, ["call_b"]),
        ({"verdict": ["blocked", "error"]}, ["call_d", "call_b"]),
        ({"outcome": "refused,upstream_error"}, ["call_d", "call_c"]),
        ({"protocol": "mcp.modern"}, ["call_d"]),
        ({"client_ip": "192.0.2.7"}, ["call_b"]),
        ({"status": 401}, ["call_c"]),
        ({"search": "MODELS"}, ["call_c"]),
        ({"search": "call_a"}, ["call_a"]),
        ({"search": "%"}, []),
        ({"since_at": newest}, ["call_d"]),
        ({"until_at": newest}, ["call_c", "call_b", "call_a"]),
        ({"principal_id": "key_x"}, []),
    ):
        assert await found(console, **params) == expected, params


async def test_ADM_20_bad_filters_are_422_or_find_nothing(console: Console) -> None:
    for params in ({"verdict": "nice"}, {"outcome": "x"}, {"status": "x"}, {"since_at": "yesterday"}, {"limit": "x"}):
        answer = await get(console, "traffic", **params)
        assert answer.status_code == 422, params
        assert list(answer.json()["fields"]) == list(params)
    for value in ("' OR 1=1 --", "\x00", "\\"):
        assert await found(console, search=value) == []
        assert await found(console, proxy_id=value or "x") == []


async def test_ADM_20_a_naive_or_absurd_time_is_no_server_error(console: Console) -> None:
    for value, expected in (
        ("2026-01-01T00:00:00", 200),
        ("0001-01-01T00:00:00Z", 200),
        ("9999-12-31T23:59:59Z", 200),
        ("0001-01-01T00:00:00+14:00", 422),
    ):
        for name in ("since_at", "until_at"):
            answer = await get(console, "traffic", **{name: value})
            assert answer.status_code == expected, value


async def test_ADM_27_counting_stops_at_a_bound_and_says_so(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.traffic import service

    monkeypatch.setattr(repository, "COUNT_LIMIT", 2)
    monkeypatch.setattr(service, "COUNT_LIMIT", 2)
    data = (await get(console, "traffic")).json()["data"]
    assert (data["total"], data["total_is_exact"], len(data["items"])) == (2, False, 4)
    assert (await get(console, "traffic", offset=10**9)).json()["data"]["items"] == []


async def test_ADM_27_a_search_looks_at_the_newest_calls_only_and_says_so(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "SEARCHED_CALLS", 2)
    for params, expected, is_exact in (
        ({"search": "call_"}, ["call_d", "call_c"], False),
        ({"search": "call_a"}, [], False),
        ({"status": 401}, ["call_c"], False),
        ({"search": "call_a", "proxy_id": "prx_a"}, ["call_a"], False),
        ({"verdict": "blocked", "search": "call_b"}, ["call_b"], True),
        ({"proxy_id": "prx_a"}, ["call_c", "call_a"], True),
    ):
        data = (await get(console, "traffic", **params)).json()["data"]
        assert ([item["id"] for item in data["items"]], data["total_is_exact"]) == (expected, is_exact), params


async def test_one_call_is_shown_with_its_findings(console: Console) -> None:
    data = (await get(console, "traffic/call_b")).json()["data"]
    assert (data["verdict"], data["findings"][0]["rule_id"]) == ("blocked", "PI-0001")
    missing = await get(console, "traffic/call_unknown")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "call_not_found")


async def test_the_summary_adds_up(console: Console) -> None:
    data = (await get(console, "traffic/summary", hours=1)).json()["data"]
    totals = data["totals"]
    assert [totals[name] for name in ("calls", "allowed", "blocked", "refused", "error")] == [4, 1, 1, 1, 1]
    assert sum(point["blocked"] for point in data["points"]) == 1
    for hours in (0, 721, "x"):
        assert (await get(console, "traffic/summary", hours=hours)).status_code == 422


async def test_the_log_and_the_statistics_of_a_proxy_have_the_documented_shape(console: Console) -> None:
    made = await console.client.post("/api/v1/proxies", json=PROXY, headers=console.admin)
    proxy_id = made.json()["data"]["id"]
    fleet: MemoryFleet = console.app.state.fleet
    batch = [blocked_call(id="call_e", proxy_id=proxy_id), call(id="call_f", proxy_id=proxy_id)]
    console.client.blocking_portal.call(fleet.hooks.ingest, batch)
    rows = (await get(console, f"proxies/{proxy_id}/logs", limit=10)).json()["data"]
    assert {row["id"]: row["risk_level"] for row in rows} == {"call_e": "high", "call_f": "none"}
    assert set(rows[0]) == {
        "id",
        "proxy_config_id",
        "timestamp",
        "method",
        "path",
        "status_code",
        "duration_ms",
        "request_size",
        "response_size",
        "client_ip",
        "risk_level",
    }
    stats = (await get(console, f"proxies/{proxy_id}/stats")).json()["data"]
    documented = ("time_range_hours", "total_requests", "successful_requests", "failed_requests", "alerts_triggered")
    assert [stats[name] for name in documented] == [24, 2, 1, 1, 1]
    assert stats["top_endpoints"] == [{"path": "/v1/chat/completions", "count": 2}]
    assert stats["total_data_transferred"] == 1000
    status = (await get(console, f"proxies/{proxy_id}/status")).json()["data"]
    assert (status["requests_processed"], status["errors"]) == (2, 1)
    for path in ("stats?hours=0", "logs?limit=0", "logs?limit=501"):
        answer = await console.client.get(f"/api/v1/proxies/{proxy_id}/{path}", headers=console.admin)
        assert answer.status_code == 422, path
