"""The documented endpoints of tools, as scripts use them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.tools.intake import ToolIntake
from proxies.contract import Discover, HeldCall, HoldEnded, Observed, Release
from tests.support.console import Console
from tests.support.declarations import POISON, observation, tool
from tests.support.features import ADMIN
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import make_proxy

A, B = tool("list_issues"), tool("create_issue", "Create an issue in a repository.")
BAD = tool("create_issue", f"Create an issue in a repository. {POISON}")


async def send(console: Console, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=headers or console.admin, json=body)


async def data(console: Console, method: str, path: str, body: Any = None) -> Any:
    answer = await send(console, method, path, body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["data"]


def fleet_of(console: Console) -> MemoryFleet:
    found: MemoryFleet = console.app.state.fleet
    return found


async def report(console: Console, report: Any) -> None:
    """In the loop of the console."""
    intake: ToolIntake = console.app.state.tool_intake

    async def work() -> None:
        fleet_of(console).hooks.on_tools(report)
        await intake.idle()

    await asyncio.to_thread(console.client.blocking_portal.call, work)


def serve(console: Console, *tools: dict[str, Any]) -> None:
    """The worker answers every discovery with these tools."""
    fleet = fleet_of(console)

    def answer(order: Any) -> None:
        if isinstance(order, Discover):
            seen = observation(order.proxy_id, tools, id=order.id, trigger=order.trigger)
            fleet.hooks.on_tools(Observed(seen))

    fleet.answer_orders = answer


@pytest.fixture
async def proxy_id(console: Console) -> str:
    serve(console)
    made = await make_proxy(console, "github", type="mcp", target_url="http://github.test/mcp", policy_names=[])
    await data(console, "POST", f"proxies/{made}/start")
    await asyncio.to_thread(console.client.blocking_portal.call, console.app.state.discovery.idle)
    return made


async def test_SYP_MON_3_discovered_tools_are_disabled(console: Console, proxy_id: str) -> None:
    serve(console, A, B)
    found = await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    assert [(one["name"], one["enabled"], one["state"]) for one in found["tools"]] == [
        ("create_issue", False, "pending"),
        ("list_issues", False, "pending"),
    ]
    listed = await data(console, "GET", f"proxies/{proxy_id}/tools")
    assert listed["count"] == 2
    assert listed["proxy_id"] == proxy_id
    assert {"id", "name", "description", "enabled", "discovered_at"} <= listed["tools"][0].keys()


async def test_SYP_TOOL_1_and_SYP_RUG_6_single_and_bulk_enabling_overrides_statistics_and_audit(
    console: Console, proxy_id: str
) -> None:
    serve(console, A, B)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    one = await data(console, "PUT", f"proxies/{proxy_id}/tools/list_issues", {"enabled": True})
    assert (one["enabled"], one["version"], one["approved_by"]) == (True, 1, "admin")
    bulk = {"tool_names": ["create_issue", "list_issues", "nothing"], "enabled": True}
    outcome = await data(console, "PUT", f"proxies/{proxy_id}/tools/bulk", bulk)
    assert outcome == {"changed": 1, "skipped": {"nothing": "The server declares no such tool."}}
    off = await data(console, "PUT", f"proxies/{proxy_id}/tools/{one['id']}", {"enabled": False})
    assert (off["enabled"], off["state"]) == (False, "disabled")
    key = (await data(console, "POST", "api-keys", {"name": "ci"}))["api_key"]["id"]
    path = f"proxies/{proxy_id}/tools/list_issues/overrides/{key}"
    assert (await data(console, "PUT", path, {"enabled": True}))["enabled"] is True
    [mcp] = [proxy.mcp for proxy in fleet_of(console).configuration.proxies if proxy.id == proxy_id]
    assert mcp is not None
    assert mcp.control is not None
    assert mcp.control.tool_overrides == {key: {"list_issues": True}}
    assert mcp.control.tools["list_issues"].enabled is False
    assert len(await data(console, "GET", f"proxies/{proxy_id}/tools/overrides")) == 1
    assert (await send(console, "DELETE", path)).status_code == 200
    stats = await data(console, "GET", f"proxies/{proxy_id}/tools/stats")
    assert (stats["total"], stats["enabled"], stats["disabled"]) == (2, 1, 1)
    events = [entry["event_type"] for entry in (await data(console, "GET", "audit?limit=50"))["items"]]
    assert {
        "mcp.tool.discovered",
        "mcp.tool.enabled",
        "mcp.tool.bulk.updated",
        "mcp.tool.disabled",
        "mcp.tool.override.set",
    } <= set(events)


async def test_SYP_RUG_2_changes_are_detected_listed_and_decided_by_the_hash_that_was_seen(
    console: Console, proxy_id: str
) -> None:
    serve(console, A, B)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    await data(
        console,
        "PUT",
        f"proxies/{proxy_id}/tools/bulk",
        {"tool_names": ["list_issues", "create_issue"], "enabled": True},
    )
    serve(console, A, BAD)
    [change] = await data(console, "POST", f"mcp/tools/{proxy_id}/detect-changes")
    assert (change["type"], change["severity"], change["status"]) == ("new_finding", "critical", "open")
    base = f"mcp/tools/{proxy_id}/changes"
    detail = await data(console, "GET", f"{base}/{change['id']}")
    assert detail["old"]["description"] == "Create an issue in a repository."
    assert POISON in detail["new"]["description"]
    stale = await send(console, "POST", f"{base}/{change['id']}/approve", {"h_raw": change["before_hash"]})
    assert (stale.status_code, stale.json()["error_code"]) == (409, "review_outdated")
    seen = {"h_raw": change["after_hash"], "comment": "Not with us."}
    assert (await data(console, "POST", f"{base}/{change['id']}/reject", seen))["status"] == "rejected"
    assert (await data(console, "POST", f"{base}/{change['id']}/approve", seen))["status"] == "approved"
    assert (await data(console, "POST", f"{base}/{change['id']}/revert", seen))["status"] == "reverted"
    again = await send(console, "POST", f"{base}/{change['id']}/revert", seen)
    assert again.json()["error_code"] == "change_decided"
    assert [one["id"] for one in (await data(console, "GET", f"{base}?limit=1"))["items"]] == [change["id"]]
    [alert] = [
        one
        for one in (await data(console, "GET", "system/alerts"))["items"]
        if one["rule_id"] == "MCP-TOOL-NEW-FINDING"
    ]
    assert (alert["category"], alert["status"], alert["resolved_by"]) == ("MCP tool changes", "resolved", "admin")
    baseline = await data(console, "GET", f"mcp/tools/{proxy_id}/baseline")
    assert len(baseline["root_hash"]) == 64
    assert {one["name"] for one in baseline["entries"]} == {"list_issues", "create_issue"}
    assert (await data(console, "GET", f"mcp/inventory/{change['entry_id']}"))["entry"]["state"] == "changed"
    reverted = await data(console, "POST", f"mcp/inventory/{change['entry_id']}/revert", {"version": 2})
    assert reverted["state"] == "approved"
    gone = await send(console, "POST", f"mcp/inventory/{change['entry_id']}/revert", {"version": 99})
    assert gone.json()["error_code"] == "version_not_found"


async def test_SYP_RUG_7_the_whole_change_of_a_server_is_decided_at_once(console: Console, proxy_id: str) -> None:
    serve(console, A, B)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    chosen = {"tool_names": ["list_issues", "create_issue"], "enabled": True}
    await data(console, "PUT", f"proxies/{proxy_id}/tools/bulk", chosen)
    serve(console, BAD, tool("close_issue", "Close an issue."))
    changes = await data(console, "POST", f"mcp/tools/{proxy_id}/detect-changes")
    assert {one["type"] for one in changes} == {"new_finding", "removed_tool", "new_tool"}
    base = f"mcp/tools/{proxy_id}/changes"
    seen = [{"id": one["id"], "h_raw": one["after_hash"] or one["before_hash"]} for one in changes]
    stale = [{**seen[0], "h_raw": "0" * 64}, {"id": "chg_x", "h_raw": "0" * 64}, *seen[1:]]
    outcome = await data(console, "POST", f"{base}/reject", {"changes": stale, "comment": "Not today."})
    assert (outcome["changed"], len(outcome["skipped"])) == (2, 2)
    assert (await data(console, "POST", f"{base}/reject", {"changes": seen}))["changed"] == 1
    assert (await data(console, "GET", f"{base}?statuses=open"))["total"] == 0
    states = {one["name"]: one["state"] for one in (await data(console, "GET", f"proxies/{proxy_id}/tools"))["tools"]}
    assert states == {"create_issue": "changed", "list_issues": "missing", "close_issue": "disabled"}
    (undo, *_) = await data(console, "GET", "mcp/undo")
    await data(console, "POST", f"mcp/undo/{undo['id']}")
    assert (await data(console, "POST", f"{base}/approve", {"changes": seen}))["changed"] == 3
    states = {one["name"]: one["state"] for one in (await data(console, "GET", f"proxies/{proxy_id}/tools"))["tools"]}
    assert states == {"create_issue": "approved", "list_issues": "missing", "close_issue": "approved"}
    entries = (await data(console, "GET", "audit?event_type=mcp.tool.bulk"))["items"]
    assert [one["details"].get("changes") for one in entries[:3]] == ["approved", "rejected", "rejected"]
    refused = await send(console, "POST", f"{base}/approve", {"changes": []})
    assert refused.status_code == 422


async def test_the_inventory_spans_servers_and_filters(console: Console, proxy_id: str) -> None:
    serve(console, A, tool("run_command", "Run a shell command on the machine."))
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    found = await data(console, "GET", "mcp/inventory?risk=high")
    assert [(one["name"], one["risk"]) for one in found["items"]] == [("run_command", "high")]
    assert (await data(console, "GET", "mcp/inventory?states=pending&search=list&sort=name"))["total"] == 1
    assert (await send(console, "GET", "mcp/inventory?states=nonsense")).status_code == 422
    [server] = await data(console, "GET", "mcp/servers")
    assert (server["name"], server["tools"], server["pending"]) == ("github-tools", 2, 2)
    assert server["next_discovery_at"] > server["discovered_at"]


async def test_what_cannot_be_asked_says_why(console: Console, proxy_id: str) -> None:
    llm = await make_proxy(console, "llm", 4001)
    assert (await send(console, "GET", f"proxies/{llm}/tools")).json()["error_code"] == "not_an_mcp_proxy"
    assert (await send(console, "GET", "proxies/nope/tools")).json()["error_code"] == "proxy_not_found"
    await data(console, "POST", f"proxies/{proxy_id}/stop")
    stopped = await send(console, "POST", f"proxies/{proxy_id}/tools/discover")
    assert (stopped.status_code, stopped.json()["error_code"]) == (409, "proxy_not_serving")
    unknown = await send(console, "PUT", f"proxies/{proxy_id}/tools/nope", {"enabled": True})
    assert unknown.json()["error_code"] == "tool_not_found"
    change = await send(console, "POST", f"mcp/tools/{proxy_id}/changes/chg_x/approve", {"h_raw": ""})
    assert change.json()["error_code"] == "change_not_found"


async def test_viewers_read_and_do_not_decide(console: Console, proxy_id: str) -> None:
    viewer = await console.create_person("vera", "viewer")
    serve(console, A)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    assert (await send(console, "GET", f"proxies/{proxy_id}/tools", **viewer)).status_code == 200
    refused = await send(console, "PUT", f"proxies/{proxy_id}/tools/list_issues", {"enabled": True}, **viewer)
    assert refused.status_code == 403


def held(proxy_id: str, **fields: Any) -> HeldCall:
    return HeldCall(
        **{
            "id": "call_1",
            "proxy_id": proxy_id,
            "snapshot_version": 3,
            "principal_id": "key_1",
            "principal_name": "growth-team",
            "tool": "transfer",
            "h_raw": "a" * 64,
            "arguments": b'{"amount":1000,"to":"Quibble Ltd"}',
            "digest": "d" * 64,
            "policy": "payments",
            "policy_version": 4,
            "reason": "Every transfer needs a second person.",
            "held_at": time.time(),
            "expires_at": time.time() + 300,
            **fields,
        }
    )


async def test_a_held_call_is_shown_with_its_exact_arguments_and_released_once(
    console: Console, proxy_id: str, tmp_path: Any
) -> None:
    await report(console, held(proxy_id))
    [waiting] = (await data(console, "GET", "approvals"))["held_calls"]
    assert waiting["arguments"] == '{"amount":1000,"to":"Quibble Ltd"}'
    assert (waiting["policy"], waiting["policy_version"]) == ("payments", 4)
    viewer = await console.create_person("vera", "viewer")
    seen = (await send(console, "GET", "approvals", **viewer)).json()["data"]["held_calls"]
    assert seen[0]["arguments"] == ""
    for file in (tmp_path / "data").glob("ostiary.db*"):
        assert b"Quibble" not in file.read_bytes()
    other = await send(console, "POST", "approvals/call_1/release", {"digest": "e" * 64})
    assert other.json()["error_code"] == "review_outdated"
    assert (await data(console, "POST", "approvals/call_1/release", {"digest": "d" * 64}))["status"] == "releasing"
    assert [order for order in fleet_of(console).orders if isinstance(order, Release)] == [
        Release("call_1", "d" * 64, True, "admin")
    ]
    twice = await send(console, "POST", "approvals/call_1/refuse", {"digest": "d" * 64})
    assert (twice.status_code, twice.json()["error_code"]) == (409, "held_call_decided")
    await report(console, HoldEnded("call_1", "released"))
    assert (await data(console, "GET", "approvals"))["held_calls"] == []
    assert (await send(console, "POST", "approvals/nope/refuse", {"digest": ""})).status_code == 404


async def test_a_held_call_that_nobody_waits_with_any_more_is_not_released(console: Console, proxy_id: str) -> None:
    await report(console, held(proxy_id, expires_at=1.0))
    assert (await data(console, "GET", "approvals"))["held_calls"] == []
    late = await send(console, "POST", "approvals/call_1/release", {"digest": "d" * 64})
    assert late.json()["error_code"] == "held_call_decided"
    await data(console, "POST", f"proxies/{proxy_id}/stop")
    await report(console, held(proxy_id, id="call_2"))
    lost = await send(console, "POST", "approvals/call_2/release", {"digest": "d" * 64})
    assert lost.status_code == 503
    page = (await console.client.get("/api/v1/audit?event_type=mcp.call.", headers=console.admin)).json()["data"]
    assert page["items"][0]["event_type"] == "mcp.call.lost"
    holds = console.app.state.holds
    (ended, *_) = await asyncio.to_thread(console.client.blocking_portal.call, lambda: holds.recent(ADMIN, limit=5))
    assert (ended.id, ended.status) == ("call_2", "drained"), "it is not shown as released"


async def test_a_change_is_found_under_its_own_server_only(console: Console, proxy_id: str) -> None:
    other = await make_proxy(console, "other", 4001, type="mcp", target_url="http://other.test/mcp", policy_names=[])
    serve(console, A)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    serve(console, A, B)
    await data(console, "POST", f"proxies/{proxy_id}/tools/discover")
    (change,) = (await data(console, "GET", f"mcp/tools/{proxy_id}/changes?statuses=open"))["items"]
    wrong = f"mcp/tools/{other}/changes/{change['id']}"
    assert (await send(console, "GET", wrong)).json()["error_code"] == "change_not_found"
    for verb in ("approve", "reject", "revert"):
        answer = await send(console, "POST", f"{wrong}/{verb}", {"h_raw": change["after_hash"]})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "change_not_found")
    right = f"mcp/tools/{proxy_id}/changes/{change['id']}"
    assert (await data(console, "POST", f"{right}/approve", {"h_raw": change["after_hash"]}))["status"] == "approved"


async def test_an_approval_of_everything_counts_what_it_approved(console: Console, proxy_id: str) -> None:
    await report(console, Observed(observation(proxy_id, [A, B, {**B, "title": "Another"}])))
    decisions = console.app.state.decisions
    seen = await asyncio.to_thread(console.client.blocking_portal.call, decisions.pending, ADMIN, proxy_id)
    count = await asyncio.to_thread(
        console.client.blocking_portal.call,
        lambda: decisions.approve_pending(ADMIN, proxy_id, digest=seen.all_digest, only_clean=False),
    )
    entries = (await data(console, "GET", "audit?event_type=mcp.tool.bulk.updated"))["items"]
    assert count == 1
    assert (entries[0]["details"]["count"], entries[0]["details"]["names"]) == (1, ["list_issues"])
