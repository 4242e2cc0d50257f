"""Policies over real traffic of MCP proxies, in both eras."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from rules.engine import Ruleset
from rules.model import Action
from tests.integration.policy_documents import phrase_rules
from tests.mcp_server import MCPServerProcess
from tests.proxy_harness import RunningProxy, running_proxy
from tests.unit.rules.small_packs import pack, rule, ruleset

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


@cache
def phrases() -> Ruleset:
    return phrase_rules()


@cache
def signals() -> Ruleset:
    """Two rules that block together and neither of them alone."""
    weak = rule("T-WEAK", {"any": [{"re": "weak sign"}]}, ("weak sign", "nothing"), score=50, targets=["tool_args"])
    strong = rule(
        "T-STRONG",
        {"any": [{"re": "strong sign"}]},
        ("strong sign", "nothing"),
        score=50,
        action="block",
        targets=["tool_args"],
    )
    return ruleset(pack("signals", weak, strong))


@asynccontextmanager
async def client_under(
    server: MCPServerProcess, mode: str, *policies: dict[str, Any], rules: Ruleset | None = None
) -> AsyncIterator[tuple[Client, RunningProxy]]:
    async with (
        running_proxy(type="mcp", target_url=server.url, ruleset=rules or phrases(), policies=policies) as proxy,
        Client(f"{proxy.url}/mcp", mode=mode) as client,
    ):  # type: ignore[arg-type]
        yield client, proxy


@ERAS
async def test_AG_PE_2_a_tool_call_is_denied_by_name_and_arguments(server: MCPServerProcess, mode: str) -> None:
    match = {"tool_name": "echo", "tool_arguments": [{"path": "$.text", "matches": "^/etc/"}]}
    policy = {"name": "p", "rules": [{"id": "r", "action": "deny", "match": match, "reason": "Not that file"}]}
    async with client_under(server, mode, policy) as (client, proxy):
        with pytest.raises(MCPError) as refused:
            await client.call_tool("echo", {"text": "/etc/shadow"})
        await client.call_tool("echo", {"text": "/tmp/x"})

    assert refused.value.error.code == -32010
    assert refused.value.error.message == "Denied: Not that file (rule r, policy p)"
    assert server.calls() == [["echo", {"text": "/tmp/x"}]]
    (record,) = [record for record in proxy.records if record.outcome == "blocked"]
    assert (record.error_code, record.decision.source) == ("policy_denied", "rule")


@ERAS
async def test_AG_STATE_3_a_list_of_tools_lets_the_client_connect_and_call_no_other(
    server: MCPServerProcess, mode: str
) -> None:
    rule = {"id": "r", "action": "allow", "match": {"tool_name": ["ec*"]}}
    async with client_under(server, mode, {"name": "p", "default_action": "deny", "rules": [rule]}) as (client, _):
        assert (await client.list_tools()).tools
        await client.call_tool("echo", {"text": "x"})
        with pytest.raises(MCPError):
            await client.call_tool("add", {"a": 1, "b": 2})
        with pytest.raises(MCPError):
            await client.read_resource("test://greeting")
    assert [name for name, _ in server.calls()] == ["echo"]


@ERAS
async def test_conditions_on_methods_and_tags(server: MCPServerProcess, mode: str) -> None:
    rules = [
        {"id": "m", "action": "deny", "match": {"method": "prompts/*"}},
        {"id": "t", "action": "tag", "tags": ["tool"], "match": {"tool_name": "*"}},
    ]
    async with client_under(server, mode, {"name": "p", "rules": rules}) as (client, proxy):
        with pytest.raises(MCPError):
            await client.get_prompt("summarize", {"topic": "x"})
        await client.call_tool("echo", {"text": "x"})
    tagged = [record for record in proxy.records if record.decision.tags]
    assert [(record.operation, record.action, record.decision.tags) for record in tagged] == [
        ("tools/call echo", Action.TAG, ("tool",))
    ]


@pytest.mark.parametrize(("threshold", "blocks"), [(100, True), (None, False)])
async def test_signals_of_a_session_add_up(server: MCPServerProcess, threshold: int | None, blocks: bool) -> None:
    policy = {"name": "p", "packs": ["signals"], "thresholds": {"conversation_block": threshold}}
    async with client_under(server, "legacy", policy, rules=signals()) as (client, _):
        await client.call_tool("echo", {"text": "a strong sign"})
        await client.call_tool("echo", {"text": "a weak sign"})
        if blocks:
            with pytest.raises(MCPError):
                await client.call_tool("echo", {"text": "a strong sign"})
        else:
            await client.call_tool("echo", {"text": "a strong sign"})
    assert len(server.calls()) == (2 if blocks else 3)


async def test_sessions_do_not_add_up_with_each_other(server: MCPServerProcess) -> None:
    policy = {"name": "p", "packs": ["signals"]}
    async with client_under(server, "legacy", policy, rules=signals()) as (first, proxy):
        await first.call_tool("echo", {"text": "a weak sign"})
        async with Client(f"{proxy.url}/mcp", mode="legacy") as second:
            await second.call_tool("echo", {"text": "a strong sign"})
    assert len(server.calls()) == 2
