"""Proxies through the API of a console in this process, on a real database, with a fleet in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.http.events import BusEvent, Subscription
from tests.support.console import PORT, Console
from tests.support.memory_fleet import MemoryFleet

PROXY = {"name": "OpenAI", "type": "llm", "target_url": "https://api.example.org", "port": 4000}
SECRET = "sk-upstream-secret-value"
NO_LOGIN = {
    "type": "none",
    "name": "",
    "reference": None,
    "set": False,
    "region": "",
    "access_key_id": "",
    "session_token_reference": None,
    "session_token_set": False,
}


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


async def create(console: Console, **changes: Any) -> dict[str, Any]:
    answer = await send(console, "POST", "proxies", PROXY | changes)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()["data"]
    return created


async def test_a_proxy_gets_safe_defaults(console: Console) -> None:
    proxy = await create(console)
    assert proxy["host"] == "127.0.0.1"
    assert proxy["require_auth"] is True
    assert proxy["enforcement"] == "enforce"
    assert proxy["auto_start"] is False
    assert proxy["enabled"] is True
    assert proxy["policy_names"] == ["llm-standard-security"]
    assert proxy["state"] == "stopped"
    assert proxy["listen_url"] == "http://127.0.0.1:4000"
    assert proxy["upstream_auth"] == NO_LOGIN


async def test_a_proxy_is_listed_found_changed_and_deleted(console: Console) -> None:
    proxy = await create(console, tags=["prod"], description="main")
    await create(console, name="Files", type="mcp", port=3000)
    listed = (await send(console, "GET", "proxies")).json()["data"]
    assert [item["name"] for item in listed["items"]] == ["Files", "OpenAI"]
    assert listed["total"] == 2
    for query, names in {
        "type=mcp": ["Files"],
        "search=PROD": ["OpenAI"],
        "search=nothing": [],
        "enabled=false": [],
        "search=%25": [],
        "limit=1&offset=1": ["OpenAI"],
    }.items():
        found = (await send(console, "GET", f"proxies?{query}")).json()["data"]["items"]
        assert [item["name"] for item in found] == names, query
    changed = await send(console, "PATCH", f"proxies/{proxy['id']}", {"description": "", "port": 4001})
    assert changed.json()["data"]["port"] == 4001
    assert changed.json()["data"]["tags"] == ["prod"]
    assert (await send(console, "DELETE", f"proxies/{proxy['id']}")).status_code == 200
    assert (await send(console, "GET", f"proxies/{proxy['id']}")).status_code == 404


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"type": "a2a"}, "type"),
    ({"transport": "websocket"}, "transport"),
    ({"target_url": "https://u:p@x.example"}, "target_url"),
    ({"port": 0}, "port"),
    ({"host": "not a host"}, "host"),
    ({"host": "0.0.0.0", "require_auth": False}, "host"),
    ({"enforcement": "maybe"}, "enforcement"),
    ({"tls_cert_path": "/a.pem"}, "tls_cert_path"),
    ({"upstream_client_key_path": "/a.key"}, "upstream_client_cert_path"),
    ({"upstream_client_cert_path": "/a.pem", "upstream_client_key_path": "a.key"}, "upstream_client_key_path"),
    ({"allowed_origins": ["*"]}, "allowed_origins"),
    ({"upstream_auth": {"type": "bearer"}}, "upstream_auth.value"),
    ({"upstream_auth": {"type": "header", "name": "host", "value": "x"}}, "upstream_auth.name"),
    ({"policy_names": ["mcp-standard-security"]}, "policy_names"),
    ({"port": "four"}, "port"),
    ({"tags": ["a"] * 2}, "tags"),
    ({"host": "gateway.example.org"}, "host"),
]


async def test_a_bad_field_is_422_and_named(console: Console) -> None:
    for changes, field in BAD_FIELDS:
        answer = await send(console, "POST", "proxies", PROXY | changes)
        assert answer.status_code == 422, answer.text
        assert list(answer.json()["fields"]) == [field]
    assert (await send(console, "GET", "proxies")).json()["data"]["total"] == 0


async def test_ADM_15_unknown_fields_are_422_and_named(console: Console) -> None:
    proxy = await create(console)
    for field in ("id", "tenant_id", "created_at", "state", "upstream_auth_secret", "nonsense"):
        for method, path, body in (("POST", "proxies", PROXY), ("PATCH", f"proxies/{proxy['id']}", {})):
            answer = await send(console, method, path, {**body, field: "x"})
            assert answer.status_code == 422
            assert list(answer.json()["fields"]) == [field]
    assert (await send(console, "GET", f"proxies/{proxy['id']}")).json()["data"] == proxy


async def test_SSRF_07_a_target_that_leads_back_here_is_422_and_a_chain_is_not(console: Console) -> None:
    refused = {
        "http://127.0.0.1:4000/v1": "this proxy's own address",
        "http://localhost:4000": "this proxy's own address",
        f"http://localhost:{PORT}": "console",
    }
    for target_url, told in refused.items():
        answer = await send(console, "POST", "proxies", PROXY | {"target_url": target_url})
        assert answer.status_code == 422, target_url
        assert told in answer.json()["fields"]["target_url"]
    first = await create(console)
    second = await create(console, name="Second", port=4001, target_url="http://127.0.0.1:4000")
    for proxy in (first, second):
        answer = await send(console, "PATCH", f"proxies/{proxy['id']}", {"target_url": "http://127.0.0.1:4001"})
        assert answer.status_code == 422, answer.text
    named = await send(console, "PATCH", f"proxies/{second['id']}", {"description": "still changeable"})
    assert named.status_code == 200


async def test_ADM_16_the_connection_check_refuses_the_console_as_saving_does(console: Console) -> None:
    body = {"target_url": f"http://127.0.0.1:{PORT}/"}
    answer = await send(console, "POST", "proxies/test-connection", body)
    assert answer.status_code == 422
    assert "console" in answer.json()["fields"]["target_url"]


async def test_SLG_ROAD_3_the_hosts_that_tools_may_be_sent_to_reach_the_workers(
    console: Console, fleet: MemoryFleet
) -> None:
    body = {"name": "Tools", "type": "mcp", "target_url": "http://localhost:1/mcp", "port": 4101}
    for bad in ("https://a.example", "a.example:443", "*.example", "A.example", "a b", "*", "*.*.example.org"):
        refused = await send(console, "POST", "proxies", body | {"egress_hosts": [bad]})
        assert (refused.status_code, list(refused.json()["fields"])) == (422, ["egress_hosts"]), bad
    hosts = ["api.example.org", "*.example.net", "192.0.2.7", "2001:db8::1"]
    made = (await send(console, "POST", "proxies", body | {"egress_hosts": hosts})).json()["data"]
    (config,) = [one for one in fleet.configuration.proxies if one.id == made["id"]]
    assert config.mcp is not None
    assert (made["egress_hosts"], config.mcp.egress_hosts) == (hosts, tuple(hosts))
    running = (await send(console, "GET", f"proxies/{made['id']}/running")).json()["data"]
    assert running["differences"] == []


async def test_an_unknown_policy_is_404(console: Console) -> None:
    answer = await send(console, "POST", "proxies", PROXY | {"policy_names": ["no-such-policy"]})
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "policy_not_found"
    assert "no-such-policy" in answer.json()["error"]


async def test_INJ_14_a_name_is_unique_whatever_its_case(console: Console) -> None:
    await create(console)
    answer = await send(console, "POST", "proxies", PROXY | {"name": "openAI", "port": 4001})
    assert answer.status_code == 409
    assert answer.json()["error_code"] == "proxy_name_taken"


async def test_a_port_of_another_proxy_is_409_and_names_it(console: Console) -> None:
    await create(console)
    other = await create(console, name="Other", port=4001)
    answer = await send(console, "POST", "proxies", PROXY | {"name": "Third", "host": "0.0.0.0"})
    assert answer.status_code == 409
    assert "OpenAI" in answer.json()["error"]
    moved = await send(console, "PATCH", f"proxies/{other['id']}", {"port": 4000})
    assert moved.status_code == 409
    console_port = await send(console, "POST", "proxies", PROXY | {"name": "Fourth", "port": PORT})
    assert console_port.status_code == 409
    same = await send(console, "PATCH", f"proxies/{other['id']}", {"port": 4001, "description": "same port"})
    assert same.status_code == 200


async def test_SEC_a_stored_credential_is_sealed_and_never_returned(
    console: Console, fleet: MemoryFleet, tmp_path: Path
) -> None:
    auth = {"type": "header", "name": "x-api-key", "value": SECRET}
    proxy = await create(console, upstream_auth=auth)
    expected = NO_LOGIN | {"type": "header", "name": "x-api-key", "set": True}
    assert proxy["upstream_auth"] == expected
    for path in ("proxies", f"proxies/{proxy['id']}", f"proxies/{proxy['id']}/status", "overview", "audit"):
        answer = await send(console, "GET", path)
        assert answer.status_code == 200
        assert SECRET not in answer.text
    for file in (tmp_path / "data").glob("ostiary.db*"):
        assert SECRET.encode() not in file.read_bytes()
    assert fleet.configuration.proxies[0].upstream_auth.value == SECRET
    assert SECRET not in repr(fleet.configuration)


async def test_SEC_a_kept_credential_does_not_follow_to_another_origin(console: Console, fleet: MemoryFleet) -> None:
    proxy = await create(console, upstream_auth={"type": "bearer", "value": SECRET})
    path = f"proxies/{proxy['id']}"
    moved = await send(console, "PATCH", path, {"target_url": "https://evil.example"})
    assert moved.status_code == 422
    assert "upstream_auth.value" in moved.json()["fields"]
    same_origin = await send(console, "PATCH", path, {"target_url": "https://API.example.org:443/v2"})
    assert same_origin.status_code == 200
    again = {"target_url": "https://new.example", "upstream_auth": {"type": "bearer", "value": "sk-new"}}
    assert (await send(console, "PATCH", path, again)).status_code == 200
    assert fleet.configuration.proxies[0].upstream_auth.value == "sk-new"
    kept = await send(console, "PATCH", path, {"upstream_auth": {"type": "header", "name": "x-key"}})
    assert kept.json()["data"]["upstream_auth"] == NO_LOGIN | {"type": "header", "name": "x-key", "set": True}
    assert fleet.configuration.proxies[0].upstream_auth.value == "sk-new"
    gone = await send(console, "PATCH", path, {"upstream_auth": {"type": "none"}})
    assert gone.json()["data"]["upstream_auth"]["set"] is False
    assert fleet.configuration.proxies[0].upstream_auth.value == ""


async def test_a_proxy_starts_stops_and_restarts(console: Console) -> None:
    proxy = await create(console)
    path = f"proxies/{proxy['id']}"
    assert (await send(console, "POST", f"{path}/start")).json()["data"]["state"] == "running"
    status = (await send(console, "GET", f"{path}/status")).json()["data"]
    assert status["running"] is True
    assert status["start_time"]
    assert status["target"] == PROXY["target_url"]
    assert (await send(console, "GET", "proxies/status")).json()["data"] == [status]
    assert (await send(console, "DELETE", path)).status_code == 409
    assert (await send(console, "POST", f"{path}/restart")).json()["data"]["state"] == "running"
    assert (await send(console, "POST", f"{path}/stop")).json()["data"]["state"] == "stopped"
    assert (await send(console, "DELETE", path)).status_code == 200


async def test_a_start_that_fails_is_409_with_the_reason_and_leaves_the_others_alone(
    console: Console, fleet: MemoryFleet
) -> None:
    good = await create(console)
    await send(console, "POST", f"proxies/{good['id']}/start")
    bad = await create(console, name="Bad", port=4001)
    fleet.fail_with = "Port 4001 is in use by another program."
    answer = await send(console, "POST", f"proxies/{bad['id']}/start")
    assert answer.status_code == 409
    assert answer.json()["error"] == fleet.fail_with
    assert (await send(console, "GET", f"proxies/{bad['id']}")).json()["data"]["state_reason"] == fleet.fail_with
    assert (await send(console, "GET", f"proxies/{good['id']}")).json()["data"]["state"] == "running"
    fleet.refuse_with = "Port 4001 cannot be bound."
    assert (await send(console, "POST", f"proxies/{bad['id']}/start")).status_code == 409


async def test_a_disabled_proxy_is_not_started(console: Console, fleet: MemoryFleet) -> None:
    proxy = await create(console, enabled=False)
    answer = await send(console, "POST", f"proxies/{proxy['id']}/start")
    assert answer.status_code == 409
    assert answer.json()["error_code"] == "proxy_disabled"
    assert fleet.configuration.proxies == ()


async def test_every_change_reaches_the_audit_log(console: Console, fleet: MemoryFleet) -> None:
    proxy = await create(console, upstream_auth={"type": "bearer", "value": SECRET})
    path = f"proxies/{proxy['id']}"
    await send(console, "PATCH", path, {"description": "new"})
    await send(console, "PATCH", path, {"description": "new"})
    await send(console, "POST", f"{path}/start")
    fleet.fail_with = "no"
    await send(console, "POST", f"{path}/restart")
    await send(console, "POST", f"{path}/stop")
    await send(console, "DELETE", path)
    entries = (await send(console, "GET", "audit?event_type=proxy.")).json()["data"]["items"]
    # What the failed restart did to the proxy is written beside, whenever its turn comes (test_failures.py).
    changes = [entry for entry in reversed(entries) if entry["event_type"] != "proxy.failed"]
    seen = [(entry["event_type"], entry["result"], entry["resource"]["id"]) for entry in changes]
    assert seen == [
        ("proxy.created", "success", proxy["id"]),
        ("proxy.updated", "success", proxy["id"]),
        ("proxy.started", "success", proxy["id"]),
        ("proxy.restarted", "failure", proxy["id"]),
        ("proxy.stopped", "success", proxy["id"]),
        ("proxy.deleted", "success", proxy["id"]),
    ]
    assert entries[-2]["details"] == {"fields": ["description"]}


async def test_a_login_that_is_sent_back_as_it_is_counts_as_no_change(console: Console) -> None:
    proxy = await create(console, upstream_auth={"type": "bearer", "value": SECRET})
    path = f"proxies/{proxy['id']}"
    for auth in (
        {"type": "bearer", "value": ""},  # What a form sends that leaves the key as it is.
        {"type": "bearer", "value": "env:SOME_KEY"},
        {"type": "bearer", "value": "env:SOME_KEY"},
        {"type": "none"},
        {"type": "none"},
    ):
        assert (await send(console, "PATCH", path, {"upstream_auth": auth})).status_code == 200
    entries = (await send(console, "GET", "audit?event_type=proxy.updated")).json()["data"]["items"]
    assert [entry["details"] for entry in entries] == [{"fields": ["upstream_auth"]}] * 2


async def test_a_change_whose_audit_entry_fails_does_not_happen(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(console.app.state.audit, "record", refuse)
    answer = await send(console, "POST", "proxies", PROXY)
    assert answer.status_code >= 500
    assert "disk full" not in answer.text
    assert (await send(console, "GET", "proxies")).json()["data"]["total"] == 0


async def test_a_change_is_committed_even_if_the_workers_cannot_be_told_and_is_tried_again(
    console: Console, fleet: MemoryFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.refresh_error = RuntimeError("no channel")
    await create(console)
    assert "tried again" in caplog.text
    kinds = [item["kind"] for item in (await send(console, "GET", "overview")).json()["data"]["attention"]]
    assert kinds == ["rollout_pending"]
    fleet.refresh_error = None
    retry = next(job for job in console.app.state.scheduler.jobs if job.name == "rollout_retry")
    await console.app.state.scheduler.run(retry)
    assert [proxy.name for proxy in fleet.configuration.proxies] == ["OpenAI"]
    assert (await send(console, "GET", "overview")).json()["data"]["attention"] == []


async def test_ADM_14_an_unknown_id_is_404_on_every_route(console: Console) -> None:
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/restart"),
        ("GET", "/status"),
        ("GET", "/stats"),
        ("GET", "/logs"),
    ):
        answer = await send(console, method, f"proxies/prx_unknown{path}", {} if method == "PATCH" else None)
        assert answer.status_code == 404, (method, path)
        assert answer.json()["error_code"] == "proxy_not_found"


HOSTILE = ["' OR 1=1 --", "%", "_", "\\", "'; DROP TABLE proxies; --", "\x00", "a" * 5000]


async def test_ADM_20_hostile_search_texts_find_nothing_and_break_nothing(console: Console) -> None:
    await create(console)
    for value in HOSTILE:
        for name in ("search", "type"):
            answer = await console.client.get("/api/v1/proxies", params={name: value}, headers=console.admin)
            assert answer.status_code == 200
            assert answer.json()["data"]["items"] == []
    assert (await send(console, "GET", "proxies")).json()["data"]["total"] == 1


async def next_event(subscription: Subscription) -> BusEvent:
    """The console runs in another thread than the test, so its wake-up does not reach this loop: look again and again."""
    async with asyncio.timeout(10):
        while (event := await subscription.next(0.01)) is None:
            pass
        return event


async def test_the_bus_tells_every_change_of_a_proxy(console: Console) -> None:
    bus = console.app.state.bus
    subscription = bus.subscribe(["proxy"])
    proxy = await create(console)
    first = await next_event(subscription)
    assert (first.topic, first.data["id"], first.data["state"]) == ("proxy", proxy["id"], "stopped")
    await send(console, "POST", f"proxies/{proxy['id']}/start")
    assert (await next_event(subscription)).data["state"] == "running"
    await send(console, "POST", f"proxies/{proxy['id']}/stop")
    assert (await next_event(subscription)).data["state"] == "stopped"
    await send(console, "DELETE", f"proxies/{proxy['id']}")
    assert (await next_event(subscription)).data == {"id": proxy["id"], "deleted": True}
    bus.unsubscribe(subscription)
