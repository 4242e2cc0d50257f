"""The pages of the proxies: the wizard, the list, the tabs, starting and deleting."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.contract import Usage
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import (
    HTMX,
    Tab,
    blocked,
    call_of,
    ingest,
    make_proxy,
    toast_follows,
)

WIZARD = {
    "type": "llm",
    "name": "openai",
    "target_url": "https://api.example.org",
    "host": "127.0.0.1",
    "port": "4000",
    "auth_type": "bearer",
    "auth_value": "sk-upstream-of-the-test",
    "policy_names": ["llm-standard-security", "mcp-standard-security"],
    "enforcement": "log_only",
    "require_auth": "on",
    "tags": "team, prod",
    "allowed_origins": "http://one.example\nhttp://two.example",
}


async def test_the_wizard_makes_and_starts_a_proxy(console: Console, tab: Tab, fleet: MemoryFleet) -> None:
    page = await tab.get("/proxies/new")
    assert 'value="4000"' in page.text
    made = await tab.post("/proxies/new", {**WIZARD, "then": "start"})
    assert made.status_code == 303, made.text
    assert toast_follows(made)
    proxy_id = made.headers["location"].rpartition("/")[2]
    proxy = (await console.client.get(f"/api/v1/proxies/{proxy_id}", headers=console.admin)).json()["data"]
    assert proxy["policy_names"] == ["llm-standard-security"], "policies of the other kind are left out"
    assert (proxy["enforcement"], proxy["tags"], proxy["auto_start"]) == ("log_only", ["team", "prod"], False)
    assert proxy["allowed_origins"] == ["http://one.example", "http://two.example"]
    assert (proxy["upstream_auth"]["type"], proxy["upstream_auth"]["set"]) == ("bearer", True)
    assert proxy["state"] == "running"
    assert "sk-upstream" not in (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    assert 'value="4001"' in (await tab.get("/proxies/new")).text, "the next free port"


async def test_a_proxy_that_does_not_start_is_made_and_says_why(tab: Tab, fleet: MemoryFleet) -> None:
    fleet.fail_with = "Port 4000 is in use by another program."
    made = await tab.post("/proxies/new", {**WIZARD, "then": "start"})
    assert made.status_code == 303
    cookie = made.headers["set-cookie"].partition(";")[0]
    shown = await tab.get(made.headers["location"], Cookie=f"{tab.headers['Cookie']}; {cookie}")
    assert "did not start" in shown.text
    assert "Port 4000 is in use by another program." in shown.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"port": "many"}, "port"),
        ({"port": ""}, "port"),
        ({"target_url": "ftp://x"}, "target_url"),
        ({"auth_value": ""}, "auth_value"),
        ({"auth_type": "header"}, "auth_name"),
        ({"host": "0.0.0.0", "require_auth": None}, "host"),
    ],
)
async def test_a_refused_wizard_names_the_field_and_keeps_the_rest(
    tab: Tab, changes: dict[str, Any], field: str
) -> None:
    form = {name: value for name, value in {**WIZARD, **changes}.items() if value is not None}
    answer = await tab.post("/proxies/new", form)
    assert answer.status_code == 422, answer.text
    assert f'id="{field}-error"' in answer.text
    assert 'value="team, prod"' in answer.text
    assert "sk-upstream" not in answer.text


async def test_a_taken_name_is_a_conflict_in_the_form(console: Console, tab: Tab) -> None:
    await make_proxy(console, port=5000)
    answer = await tab.post("/proxies/new", WIZARD)
    assert answer.status_code == 409
    assert 'id="name-error"' in answer.text


async def test_ADM_16_test_connection_has_the_same_checks_as_saving(tab: Tab) -> None:
    answer = await tab.post("/proxies/test-connection", {"target_url": "file:///etc/passwd"}, **HTMX)
    assert "probe-bad" in answer.text
    closed = await tab.post("/proxies/test-connection", {"target_url": "http://127.0.0.1:1"}, **HTMX)
    assert "cannot be reached" in closed.text


async def test_starting_answers_with_what_asked(console: Console, tab: Tab, fleet: MemoryFleet) -> None:
    proxy_id = await make_proxy(console)
    plain = await tab.post(f"/proxies/{proxy_id}/start")
    assert (plain.status_code, plain.headers["location"]) == (303, f"/proxies/{proxy_id}")
    row = await tab.post(f"/proxies/{proxy_id}/stop", **HTMX, **{"HX-Target": f"tr#proxy-{proxy_id}"})
    assert row.text.lstrip().startswith(f'<tr id="proxy-{proxy_id}"')
    assert "stopped" in row.text
    assert 'hx-target="#toasts"' in row.text
    buttons = await tab.post(f"/proxies/{proxy_id}/start", **HTMX, **{"HX-Target": "span#proxy-actions"})
    assert f'hx-target="#state-{proxy_id}"' in buttons.text
    fleet.refuse_with = "Port 4000 is taken."
    refused = await tab.post(f"/proxies/{proxy_id}/restart", **HTMX)
    assert refused.status_code == 409
    assert "Port 4000 is taken." in refused.text
    assert (await tab.post(f"/proxies/{proxy_id}/explode")).status_code == 404


async def test_a_proxy_is_saved_and_keeps_its_credential(console: Console, tab: Tab) -> None:
    made = await tab.post("/proxies/new", WIZARD)
    proxy_id = made.headers["location"].rpartition("/")[2]
    kept = {**WIZARD, "auth_value": "", "policy_names": ["llm-standard-security"]}
    saved = await tab.post(f"/proxies/{proxy_id}", {**kept, "description": "Team growth"})
    assert saved.status_code == 303, saved.text
    proxy = (await console.client.get(f"/api/v1/proxies/{proxy_id}", headers=console.admin)).json()["data"]
    assert (proxy["description"], proxy["upstream_auth"]["set"]) == ("Team growth", True)
    refused = await tab.post(f"/proxies/{proxy_id}", {**kept, "port": "70000"})
    assert refused.status_code == 422
    assert 'id="port-error"' in refused.text


async def test_deleting_asks_first_and_refuses_a_running_proxy(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    asked = await tab.post(f"/proxies/{proxy_id}/delete")
    assert "Delete openai?" in asked.text
    await tab.post(f"/proxies/{proxy_id}/start")
    refused = await tab.post(f"/proxies/{proxy_id}/delete", {"confirmed": "yes"})
    assert refused.headers["location"] == f"/proxies/{proxy_id}?tab=config"
    await tab.post(f"/proxies/{proxy_id}/stop")
    done = await tab.post(f"/proxies/{proxy_id}/delete", {"confirmed": "yes"})
    assert done.headers["location"] == "/proxies"
    assert (await tab.get(f"/proxies/{proxy_id}")).status_code == 404


async def test_every_tab_of_a_proxy_opens(console: Console, tab: Tab) -> None:
    llm, mcp = await make_proxy(console), await make_proxy(console, "github tools!", 4001, type="mcp")
    await ingest(console, blocked(llm), call_of(llm, 2, usage=Usage(input_tokens=5, output_tokens=7)))
    for name in ("live", "policy", "connect", "config", "logs", "nonsense"):
        for proxy_id in (llm, mcp):
            assert (await tab.get(f"/proxies/{proxy_id}?tab={name}")).status_code == 200
    assert "http://127.0.0.1:4000/v1" in (await tab.get(f"/proxies/{llm}?tab=connect")).text
    connect = (await tab.get(f"/proxies/{mcp}?tab=connect")).text
    assert "claude mcp add --transport http github-tools \\\n  http://127.0.0.1:4001/mcp" in connect
    assert "http://127.0.0.1:4001/sse" in connect
    assert "ws://127.0.0.1:4001/ws" in connect
    assert "proxy.created" in (await tab.get(f"/proxies/{llm}?tab=logs")).text
    assert "PI-0001" in (await tab.get(f"/proxies/{llm}?tab=policy")).text


async def test_the_list_of_proxies_filters(console: Console, tab: Tab) -> None:
    await make_proxy(console, "alpha")
    await make_proxy(console, "beta", 4001, type="mcp")
    assert "beta" not in (await tab.get("/proxies?type=llm")).text
    assert "alpha" not in (await tab.get("/proxies?search=bet")).text
    assert "No proxy matches" in (await tab.get("/proxies?state=running")).text
