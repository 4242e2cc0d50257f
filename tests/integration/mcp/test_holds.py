"""A call that a policy holds waits for a person, and is released once, bound to exactly what was shown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from msgspec import convert
from msgspec.structs import replace

from proxies.contract import HeldCall, MCPSettings, Release
from proxies.mcp.control import held_client
from proxies.policies import Protection
from proxies.runtime import KeyRing, ProxyRuntime
from rules.model import Action
from rules.policy import Policy
from rules.policy_evaluation import CompiledPolicy, PolicySet
from tests.integration.mcp.test_tool_control import Scripted, called, scripted
from tests.integration.mcp.test_tool_control_streams import until
from tests.masking_rules import EMAIL, masking_ruleset
from tests.mcp_control import ControlConsole, accepting, tool
from tests.mcp_downstreams import websocket
from tests.mcp_wire import (
    META,
    json_answer,
    legacy_headers,
    messages_of,
    modern,
    notification,
    request,
    rpc,
    stream_answer,
    text_result,
)
from tests.rawpeer import RawMessage, UpstreamPeer, http_response

PAY = tool("pay")
POLICY = {
    "name": "approvals",
    "rules": [{"id": "pay", "action": "hold", "match": {"tool_name": "pay"}, "reason": "Payments need a person."}],
}


def release(held: HeldCall, *, allowed: bool = True, **other: Any) -> Release:
    return Release(**{"id": held.id, "digest": held.digest, "allowed": allowed, "by": "ann", **other})


def judging(runtime: ProxyRuntime, *documents: dict[str, Any], version: int = 0) -> Protection:
    """Other policies over the rules of a proxy."""
    compiled = [CompiledPolicy(convert(one, Policy), version=version, level="proxy") for one in documents]
    return Protection.of(runtime.protection.ruleset, PolicySet(compiled))


async def held(console: ControlConsole, count: int = 1) -> HeldCall:
    await console.wait_for(lambda: len(console.held) >= count)
    return console.held[count - 1]


async def outcome(console: ControlConsole) -> str:
    await console.wait_for(lambda: console.ended)
    return console.ended[-1].outcome


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_held_call_goes_on_when_a_person_releases_it(era: str) -> None:
    server, console = Scripted(PAY, era=era), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        call = asyncio.create_task(called(ends, session, "pay", amount=5, to="bob"))
        waiting = await held(console)
        assert server.calls == []
        assert (waiting.tool, json.loads(waiting.arguments)) == ("pay", {"amount": 5, "to": "bob"})
        assert (waiting.principal_id, waiting.proxy_id) == ("key_test", "prx_test")
        assert (waiting.policy, waiting.snapshot_version) == ("approvals", 1)
        assert waiting.h_raw == accepting(PAY).tools["pay"].accepted[0]
        assert "Payments need a person." in waiting.reason
        assert waiting.expires_at == waiting.held_at + 50
        ends.proxy.holds.release(release(waiting, digest="0" * 64))
        ends.proxy.holds.release(release(waiting, id="call_other"))
        ends.proxy.holds.release(release(waiting))
        ends.proxy.holds.release(release(waiting, allowed=False))
        assert (await call)["result"]["content"][0]["text"] == "done"
        assert await outcome(console) == "released"
    assert server.calls == ["pay"]
    record = next(one for one in ends.proxy.records if one.operation == "tools/call pay")
    assert (record.outcome, record.action) == ("allowed", Action.HOLD)
    assert record.reason.startswith("Released by ann.")
    assert record.id == waiting.id


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_T_10_a_released_call_is_not_held_against_its_schema_by_the_placeholders_in_it(era: str) -> None:
    """What the tool takes was judged before values were masked."""
    fields = {"to": {"type": "string", "pattern": "^[^@]+@[^@]+$"}}
    pay = tool("pay", inputSchema={"type": "object", "properties": fields})
    server, console = Scripted(pay, era=era), ControlConsole()
    mcp, rules = MCPSettings(control=accepting(pay)), masking_ruleset()
    policies = [{**POLICY, "packs": ["masking"]}]
    async with scripted(server, console, mcp=mcp, policies=policies, ruleset=rules) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        call = asyncio.create_task(called(ends, session, "pay", to=EMAIL))
        ends.proxy.holds.release(release(await held(console)))
        assert (await call)["result"]["content"][0]["text"] == "done"
        assert EMAIL not in str([seen.body for seen in ends.upstream.requests])
    assert server.calls == ["pay"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_D_01_a_refused_call_is_told_that_it_was_not_approved(era: str) -> None:
    server, console = Scripted(PAY, era=era), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        call = asyncio.create_task(called(ends, session, "pay"))
        ends.proxy.holds.release(release(await held(console), allowed=False))
        error = (await call)["error"]
        assert await outcome(console) == "refused"
    record = next(one for one in ends.proxy.records if one.operation == "tools/call pay")
    assert error == {"code": -32010, "message": "This call was not approved.", "data": {"ref": record.id}}
    assert (record.outcome, record.error_code, record.status) == ("blocked", "not_approved", 200)
    assert server.calls == []


async def test_a_call_that_nobody_approves_expires() -> None:
    server, console = Scripted(PAY), ControlConsole()
    policy = {**POLICY, "hold_seconds": 1}
    async with scripted(server, console, mcp=None, policies=[policy]) as ends:
        error = (await called(ends, await ends.client.initialize(), "pay"))["error"]
        assert await outcome(console) == "expired"
    assert error["message"] == "Nobody approved this call in time."
    assert server.calls == []


async def test_a_client_that_leaves_or_cancels_is_not_called_for() -> None:
    server, console = Scripted(PAY), ControlConsole()
    async with scripted(server, console, mcp=None, policies=[POLICY]) as ends:
        session = await ends.client.initialize()
        with pytest.raises(httpx.ReadTimeout):
            await ends.client.http.post(
                "/mcp",
                json=request("tools/call", 7, name="pay", arguments={}),
                headers=legacy_headers(session),
                timeout=0.5,
            )
        assert await outcome(console) == "client_closed"
        call = asyncio.create_task(called(ends, session, "pay"))
        await held(console, 2)
        await ends.client.post(notification("notifications/cancelled", requestId=6), session=session)
        assert "cancelled" in (await call)["error"]["message"]
        assert len(ends.proxy.holds) == 0
    assert server.calls == []


async def test_a_released_call_of_a_tool_that_changed_meanwhile_does_not_pass() -> None:
    server, console = Scripted(PAY), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize()
        call = asyncio.create_task(called(ends, session, "pay"))
        waiting = await held(console)
        console.publish(accepting(PAY, enabled=False))
        ends.proxy.holds.release(release(waiting))
        assert (await call)["error"]["message"] == "Unknown tool: pay"
    assert server.calls == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("change", ["a new version", "another policy", "a revoked key", "something else"])
async def test_a_release_counts_under_the_policies_and_the_key_that_the_call_waited_with(era: str, change: str) -> None:
    server, console = Scripted(PAY, era=era), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        call = asyncio.create_task(called(ends, session, "pay"))
        waiting = await held(console)
        runtime = ends.proxy.runtime
        match change:
            case "a new version":
                runtime = replace(runtime, protection=judging(runtime, POLICY, version=2))
            case "another policy":
                stricter = {
                    "name": "no-payments",
                    "rules": [{"id": "no", "action": "deny", "match": {"tool_name": "*"}}],
                }
                runtime = replace(runtime, protection=judging(runtime, POLICY, stricter))
            case "a revoked key":
                runtime = replace(runtime, keys=KeyRing(()))
            case _:
                runtime = replace(runtime, protection=judging(runtime, POLICY), snapshot_version=2)
        ends.proxy.swap(runtime)
        ends.proxy.holds.release(release(waiting))
        answer = await call
        assert await outcome(console) == "released"
    record = next(one for one in ends.proxy.records if one.operation == "tools/call pay")
    if change == "something else":
        assert server.calls == ["pay"]
        return
    assert server.calls == []
    assert (record.outcome, record.error_code) == ("blocked", "approval_outdated")
    assert answer["error"]["data"]["remediation"] == "Make the call again; it is judged anew."


async def test_what_is_released_names_the_version_of_the_policy() -> None:
    server, console = Scripted(PAY), ControlConsole()
    seen: list[HeldCall] = []
    for version in (1, 2):
        async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
            runtime = ends.proxy.runtime
            ends.proxy.swap(replace(runtime, protection=judging(runtime, POLICY, version=version)))
            call = asyncio.create_task(called(ends, await ends.client.initialize(), "pay"))
            seen.append(await held(console, version))
            ends.proxy.holds.release(release(seen[-1], allowed=False))
            await call
    assert [one.policy_version for one in seen] == [1, 2]
    assert seen[0].digest != seen[1].digest


async def test_calls_beyond_the_bound_are_refused_at_once() -> None:
    server, console = Scripted(PAY), ControlConsole()
    async with scripted(server, console, mcp=None, policies=[POLICY]) as ends:
        ends.proxy.holds._max_calls = 1
        session = await ends.client.initialize()
        first = asyncio.create_task(called(ends, session, "pay"))
        waiting = await held(console)
        assert "Too many" in (await called(ends, session, "pay"))["error"]["message"]
        ends.proxy.holds.release(release(waiting))
        assert "result" in await first


async def test_a_draining_proxy_ends_the_wait() -> None:
    server, console = Scripted(PAY), ControlConsole()
    async with scripted(server, console, mcp=None, policies=[POLICY]) as ends:
        call = asyncio.create_task(called(ends, await ends.client.initialize(), "pay"))
        await held(console)
        draining = asyncio.create_task(ends.proxy.listener.drain(5))
        assert "Try again" in (await call)["error"]["message"]
        await draining
        await until(lambda: console.ended)
        assert console.ended[-1].outcome == "drained"
    assert server.calls == []


async def test_where_a_proxy_only_logs_nobody_is_asked() -> None:
    server, console = Scripted(PAY), ControlConsole()
    async with scripted(server, console, mcp=None, policies=[POLICY], enforcement="log_only") as ends:
        assert "result" in await called(ends, await ends.client.initialize(), "pay")
    assert console.held == []
    record = next(one for one in ends.proxy.records if one.operation == "tools/call pay")
    assert (record.action, record.decision.would_action) == (Action.ALERT, Action.HOLD)


# --- While it waits ---------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients hear of their held calls at once."""
    monkeypatch.setattr(held_client, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(held_client, "REPEAT_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("token", ["p", None])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_client_hears_that_its_call_waits(era: str, token: str | None, streamed: bool) -> None:
    async def pay(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        answer = text_result(rpc(raw)["id"], "done")
        answer["result"] |= {"resultType": "complete"} if era == "modern" else {}
        return stream_answer(answer) if streamed else json_answer(answer)

    server, console = Scripted(PAY, era=era, tools_call=pay), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        meta = (META if era == "modern" else {}) | ({"progressToken": token} if token else {})
        body = request("tools/call", 6, name="pay", arguments={}, _meta=meta)
        content = modern(body) if session is None else {"json": body, "headers": legacy_headers(session)}
        async with ends.client.http.stream("POST", "/mcp", **content) as answer:
            lines = answer.aiter_lines()
            heard = [await anext(lines) for _ in range(6)]
            ends.proxy.holds.release(release(await held(console)))
            rest = [line async for line in lines]
    messages = messages_of("\n".join([*heard, *rest]))
    told, last = messages[:-1], messages[-1]
    assert answer.headers["content-type"] == "text/event-stream"
    assert (last["id"], last["result"]["content"][0]["text"]) == (6, "done")
    values = [one["params"]["progress"] for one in told]
    assert values == sorted(set(values))
    assert all(value < 0 for value in values)
    assert bool(values) is (token is not None)
    assert all(one["params"]["progressToken"] == token for one in told)
    record = next(one for one in ends.proxy.records if one.operation == "tools/call pay")
    assert (record.outcome, record.status, record.streamed) == ("allowed", 200, True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("ending", ["refused", "hidden", "upstream"])
async def test_D_02_what_ends_a_held_call_is_the_last_event_of_its_stream(ending: str) -> None:
    async def pay(_raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return http_response(503)

    server, console = Scripted(PAY, tools_call=pay), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(PAY)), policies=[POLICY]) as ends:
        session = await ends.client.initialize()
        body = request("tools/call", 6, name="pay", arguments={})
        async with ends.client.http.stream("POST", "/mcp", json=body, headers=legacy_headers(session)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            if ending == "hidden":
                console.publish(accepting(PAY, enabled=False))
            ends.proxy.holds.release(release(await held(console), allowed=ending != "refused"))
            rest = [line async for line in lines]
        (last,) = messages_of("\n".join(rest))
        again = await ends.client.post(request("ping", 7), session=session)
    assert (last["id"], last["error"]["code"]) == (6, {"refused": -32010, "hidden": -32602, "upstream": -32012}[ending])
    assert "id" in again.json()


@pytest.mark.usefixtures("impatient")
async def test_W_01_a_client_of_another_transport_hears_it_too() -> None:
    server, console = Scripted(PAY), ControlConsole()
    under_control = MCPSettings(control=accepting(PAY))
    async with (
        scripted(server, console, mcp=under_control, policies=[POLICY]) as ends,
        websocket(ends.proxy) as socket,
    ):
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "w", "version": "1"}}
        await socket.send(json.dumps(request("initialize", 1, **hello)))
        await socket.recv()
        await socket.send(json.dumps(notification("notifications/initialized")))
        meta = {"progressToken": 5}
        await socket.send(json.dumps(request("tools/call", 6, name="pay", arguments={}, _meta=meta)))
        told = json.loads(await socket.recv())
        ends.proxy.holds.release(release(await held(console)))
        while "id" not in (answer := json.loads(await socket.recv())):
            pass
    assert (told["method"], told["params"]["progressToken"]) == ("notifications/progress", 5)
    assert answer["result"]["content"][0]["text"] == "done"
