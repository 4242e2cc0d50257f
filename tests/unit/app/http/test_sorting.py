"""The order of a list: only by names that it allows, and headers that say where a click leads."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy.dialects import sqlite

from app.access.repository import SORTS
from app.errors import ValidationFailed
from app.http.sorting import Sort, Sorts
from app.traffic import repository as traffic_repository
from rules.model import Severity
from tests.support.console import Console
from tests.support.records import finding
from tests.support.tab import Tab, blocked, call_of, ingest


def test_the_api_refuses_a_name_that_the_list_does_not_allow() -> None:
    assert SORTS.asked("-name") == Sort("name", descending=True)
    assert SORTS.asked("") == Sort("created_at", descending=True)
    for text in ("digest", "--name", "name desc", "-"):
        with pytest.raises(ValidationFailed) as refused:
            SORTS.asked(text)
        assert "last_used_at" in refused.value.fields["sort"]


def test_a_page_takes_a_name_that_is_none_as_the_usual_order() -> None:
    assert SORTS.order("digest").sort == SORTS.order("").sort == Sort("created_at", descending=True)
    assert SORTS.order("digest").param is None


def test_headers_turn_the_order_around_and_begin_as_the_column_wants() -> None:
    usual = SORTS.order("")
    assert (usual.direction("created_at"), usual.direction("name")) == ("descending", "")
    assert (usual.after("created_at"), usual.after("name"), usual.after("last_used_at")) == (
        "created_at",
        "name",
        "-last_used_at",
    )
    turned = SORTS.order("created_at")
    assert (turned.param, turned.direction("created_at"), turned.after("created_at")) == (
        "created_at",
        "ascending",
        None,
    )


def test_what_has_no_value_comes_last_in_either_direction() -> None:
    for text in ("expires_at", "-expires_at"):
        [clause] = SORTS.clauses(Sort.parse(text))
        assert str(clause.compile(dialect=sqlite.dialect())).endswith("NULLS LAST")
    [clause] = SORTS.clauses(None)
    assert str(clause) == "api_keys.created_at DESC"


def test_a_list_in_memory_has_the_same_order() -> None:
    sorts = Sorts({"name": lambda item: item[0], "seen": lambda item: item[1]}, default="name")
    items = [("b", 2), ("a", None), ("c", 1)]
    assert sorts.arranged(items, None) == [("a", None), ("b", 2), ("c", 1)]
    assert sorts.arranged(items, Sort("seen")) == [("c", 1), ("b", 2), ("a", None)]
    assert sorts.arranged(items, Sort("seen", descending=True)) == [("b", 2), ("c", 1), ("a", None)]


LISTS = {
    "proxies": ("name", "type", "port", "target_url", "created_at"),
    "traffic": (
        "started_at",
        "verdict",
        "proxy_name",
        "operation",
        "principal_name",
        "status",
        "duration_ms",
        "added_ms",
    ),
    "system/alerts": ("created_at", "severity", "title", "proxy_name", "status"),
    "api-keys": ("created_at", "name", "last_used_at", "expires_at"),
    "audit": ("timestamp", "event_type", "username", "resource_name", "source_ip"),
    "users": ("username", "role", "last_login_at", "created_at"),
    "tokens": ("created_at", "name", "role", "last_used_at", "expires_at"),
    "canaries": ("created_at", "name", "action", "sightings", "last_seen_at"),
    "launch-programs": ("program", "proxies", "created_at"),
    "mcp/scan": ("started_at", "name", "risk_score", "state"),
}


@pytest.mark.parametrize(("path", "names"), LISTS.items())
async def test_every_list_of_the_api_sorts_by_its_names_and_refuses_others(
    console: Console, path: str, names: tuple[str, ...]
) -> None:
    for name in names:
        for sort in (name, f"-{name}"):
            answer = await console.client.get(f"/api/v1/{path}", params={"sort": sort}, headers=console.admin)
            assert answer.status_code == 200, (sort, answer.text)
    refused = await console.client.get(f"/api/v1/{path}?sort=digest", headers=console.admin)
    assert refused.status_code == 422
    assert names[0] in refused.json()["fields"]["sort"]


async def test_calls_come_in_the_order_that_is_asked_for(console: Console, tab: Tab) -> None:
    calls = [call_of("prx_1", number, duration_ms=ms, status=200 + number) for number, ms in ((1, 5), (2, 9), (3, 1))]
    await ingest(console, *calls)

    async def order(sort: str) -> list[str]:
        answer = await console.client.get(f"/api/v1/traffic?sort={sort}", headers=console.admin)
        return [item["id"] for item in answer.json()["data"]["items"]]

    assert await order("duration_ms") == ["call_3", "call_1", "call_2"]
    assert await order("-duration_ms") == ["call_2", "call_1", "call_3"]
    assert await order("started_at") == ["call_3", "call_2", "call_1"]
    assert await order("") == ["call_1", "call_2", "call_3"]
    page = (await tab.get("/traffic?sort=-duration_ms&verdict=allowed")).text
    assert page.index("/traffic/call_2") < page.index("/traffic/call_1") < page.index("/traffic/call_3")
    assert 'aria-sort="descending"><a class="sort" href="/traffic?verdict=allowed&amp;sort=duration_ms"' in page
    assert 'hx-sse:connect="/events"' in page, "live rows would stand in no order"


async def test_an_order_without_index_is_made_of_the_newest_calls(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_repository, "SORTED_CALLS", 2)
    await ingest(console, *(call_of("prx_1", number, duration_ms=number) for number in (1, 2, 3)))
    answer = await console.client.get("/api/v1/traffic?sort=-duration_ms", headers=console.admin)
    data = answer.json()["data"]
    assert [item["id"] for item in data["items"]] == ["call_2", "call_1"]
    assert data["total_is_exact"] is False


async def test_alerts_sort_by_how_bad_they_are_and_not_by_the_word(console: Console) -> None:
    severities = (Severity.LOW, Severity.CRITICAL, Severity.MEDIUM)
    await ingest(
        console,
        *(
            msgspec.structs.replace(blocked("prx_1", number), findings=(finding(severity=severity),))
            for number, severity in enumerate(severities, 1)
        ),
    )
    answer = await console.client.get("/api/v1/system/alerts?sort=-severity", headers=console.admin)
    assert [item["severity"] for item in answer.json()["data"]["items"]] == ["critical", "medium", "low"]
