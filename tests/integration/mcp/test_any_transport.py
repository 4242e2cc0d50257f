"""Any client transport in front of any server transport, with the bridge and without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import types

from proxies.contract import EraPolicy, MCPSettings
from tests.integration.mcp.test_matrix import CLIENTS
from tests.masking_rules import EMAIL, KEY, masking_ruleset
from tests.mcp_rules import small_ruleset
from tests.mcp_server import OtherServer
from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import RunningProxy, running_proxy


@pytest.fixture(params=["same", "bridge"])
async def proxy(request: pytest.FixtureRequest, other_server: OtherServer) -> AsyncIterator[RunningProxy]:
    era: EraPolicy = request.param
    async with running_proxy(
        type="mcp",
        target_url=other_server.url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        mcp=MCPSettings(transport=other_server.transport, stdio=other_server.stdio, era=era),
    ) as running:
        yield running


@pytest.mark.parametrize("client_name", ["streamable-auto", "streamable-legacy", "sse", "websocket"])
async def test_E_05_any_client_transport_in_front_of_any_server_transport(proxy, client_name: str) -> None:
    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async def elicit(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with CLIENTS[client_name](proxy, elicitation_callback=elicit) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        counted = await client.call_tool("slow", {"steps": 3}, progress_callback=progress)
        asked = await client.call_tool("ask_either", {})
    assert {"echo", "add"} <= tools
    assert (counted.content[0].text, asked.content[0].text) == ("counted", "peace")
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("era", ["same", "bridge"])
@pytest.mark.parametrize("client_name", ["streamable-auto", "streamable-legacy", "sse", "websocket"])
async def test_SYP_RED_1_values_are_masked_and_restored_over_any_transport(
    other_server: OtherServer, client_name: str, era: EraPolicy
) -> None:
    settings = MCPSettings(transport=other_server.transport, stdio=other_server.stdio, era=era)
    before = len(other_server.calls())
    async with (
        running_proxy(
            type="mcp",
            target_url=other_server.url,
            client_key=CLIENT_KEY,
            ruleset=masking_ruleset(),
            mcp=settings,
        ) as running,
        CLIENTS[client_name](running) as client,
    ):
        answer = await client.call_tool("echo", {"text": f"mail {EMAIL} with {KEY}"})
    _name, arguments = other_server.calls()[before]
    assert "[EMAIL_" in arguments["text"]
    assert EMAIL not in str(arguments)
    assert KEY not in str(arguments)
    assert answer.content[0].text == f"mail {EMAIL} with [REDACTED_AWS_SECRET]"
    assert answer.structured_content in (None, {"result": answer.content[0].text})
