"""What one server gives must not go to another: secrets, masked values and canaries in results and arguments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from proxies.mcp.control.taint import KEPT_SECONDS, MAX_VALUES, Taints
from rules.canaries import Canary
from rules.model import Action
from tests.integration.mcp.test_tool_control import Scripted, called
from tests.mcp_wire import OTHER_KEY, Wire, json_answer, rpc, text_result, wire
from tests.proxy_harness import shipped_ruleset
from tests.rawpeer import RawMessage, UpstreamPeer

SECRET = "ghp_" + "x7Kp2mQ9rT4vW8yB3nD6fH1jL5sZ0cAeXg"[:36].ljust(36, "b")


WATCHING = {
    "name": "watching",
    "packs": ["secrets"],
    "overrides": [{"packs": ["secrets"], "action": "log"}],
}
"""Secrets may pass, so that it shows what their way alone leads to."""


def giving(text: str) -> Scripted:
    async def give(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(text_result(rpc(raw)["id"], text))

    return Scripted(tools_call=give)


@asynccontextmanager
async def two_servers(text: str, taints: Taints | None = None, **config: Any) -> AsyncIterator[tuple[Wire, Wire]]:
    """Two proxies of one worker; the first one's server says `text`."""
    taints = taints or Taints()
    config.setdefault("ruleset", shipped_ruleset(("secrets",)))
    config.setdefault("policies", [WATCHING])
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(wire(giving(text), taints=taints, id="prx_a", name="vault", **config))
        second = await stack.enter_async_context(wire(Scripted(), taints=taints, id="prx_b", name="mail", **config))
        yield first, second


async def call(ends: Wire, **arguments: Any) -> dict[str, Any]:
    return await called(ends, await ends.client.initialize(), "any", **arguments)


def findings(ends: Wire) -> list[Any]:
    record = [one for one in ends.proxy.records if one.operation == "tools/call any"][-1]
    return [one for one in record.findings if one.rule_id == "MCP-TAINT-001"]


@pytest.mark.parametrize(
    "argument",
    [SECRET, f"the key is {SECRET}, keep it", f"https://attacker.test/?k={SECRET}", [{"deep": f"'{SECRET}'"}]],
)
async def test_a_secret_of_one_server_in_the_arguments_to_another_is_an_alert(argument: Any) -> None:
    async with two_servers(f"token = {SECRET}") as (first, second):
        await call(first)
        assert "result" in await call(second, body=argument)
        (finding,) = findings(second)[:1]
        assert await call(first, body=argument)
        assert findings(first) == []
    assert finding.action is Action.ALERT
    assert "vault" in finding.evidence
    assert SECRET not in json.dumps([str(one) for one in second.proxy.records])
    assert SECRET not in repr(vars(second.proxy.runtime.controlled.taints))


async def test_a_policy_can_block_it() -> None:
    policies = [{**WATCHING, "tainted_arguments": "block"}, {"name": "lax", "tainted_arguments": "log"}]
    async with two_servers(f"token = {SECRET}", policies=policies) as (first, second):
        await call(first)
        refused = await call(second, body=SECRET)
    assert refused["error"]["code"] == -32010
    assert findings(second)[0].action is Action.BLOCK


async def test_another_principal_and_another_value_are_not_concerned() -> None:
    async with two_servers(f"token = {SECRET}") as (first, second):
        await call(first)
        second.client.http.headers["authorization"] = f"Bearer {OTHER_KEY}"
        await call(second, body=SECRET)
        assert findings(second) == []
        second.client.http.headers["authorization"] = first.client.http.headers["authorization"]
        await call(second, body=SECRET[:-1])
        assert findings(second) == []


async def test_a_value_that_was_masked_in_a_result_is_followed_too() -> None:
    masking = {"name": "masking", "packs": ["pii"], "overrides": [{"packs": ["pii"], "action": "redact"}]}
    iban = "DE89370400440532013000"
    rules = shipped_ruleset(("pii",))
    async with two_servers(f"Pay to IBAN {iban} today.", ruleset=rules, policies=[masking]) as (first, second):
        given = await call(first)
        assert iban not in json.dumps(given)
        await call(second, body=f"to {iban}")
    assert [one.rule_id for one in findings(second)] == ["MCP-TAINT-001"]


async def test_a_canary_is_followed_too() -> None:
    canary = Canary(id="can_1", name="bait", value="BAIT-7f3a9c21", action=Action.LOG)
    async with two_servers(f"see {canary.value}", canaries=[canary]) as (first, second):
        await call(first)
        await call(second, body=canary.value)
    assert len(findings(second)) == 1


async def test_values_are_forgotten_after_their_time_and_beyond_their_number() -> None:
    now = [0.0]
    taints = Taints(clock=lambda: now[0])
    async with two_servers(f"token = {SECRET}", taints=taints) as (first, second):
        await call(first)
        now[0] = KEPT_SECONDS + 1
        await call(second, body=SECRET)
        assert findings(second) == []
        assert repr(taints) == "<Taints principals=0>"
    assert MAX_VALUES < 1_000
