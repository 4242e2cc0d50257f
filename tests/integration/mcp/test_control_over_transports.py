"""Tools under control, whichever way the client came and whatever the bridge translates (T-01, T-03, T-09)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from mcp.shared.exceptions import MCPError

from proxies.contract import MCPControl, MCPSettings, Observation
from tests.integration.mcp.test_matrix import CLIENTS
from tests.mcp_control import ControlConsole, accept_all
from tests.mcp_rules import small_ruleset
from tests.mcp_server import MCPServerProcess, Servers
from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import RunningProxy, running_proxy


def only_echo(observation: Observation) -> MCPControl:
    """One tool is approved."""
    control = accept_all(observation)
    return msgspec.structs.replace(control, tools={"echo": control.tools["echo"]} if control.tools else {})


@pytest.fixture(params=["legacy_only", "modern_only"])
def server(request: pytest.FixtureRequest, servers: Servers) -> MCPServerProcess:
    return servers(request.param)


@pytest.fixture
async def proxy(server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    console = ControlConsole(only_echo)
    async with running_proxy(
        type="mcp",
        target_url=server.url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        console=console.take,
        mcp=MCPSettings(era="bridge", control=MCPControl()),
    ) as running:
        console.attach(running)
        yield running


@pytest.mark.parametrize("client_name", ["streamable-legacy", "streamable-modern", "sse", "websocket"])
async def test_T_03_and_T_09_what_nobody_approved_does_not_exist_on_any_transport(
    proxy, server, client_name: str
) -> None:
    async with CLIENTS[client_name](proxy) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        echoed = await client.call_tool("echo", {"text": "hello"})
        with pytest.raises(MCPError) as refused:
            await client.call_tool("add", {"a": 1, "b": 2})
    assert listed == ["echo"]
    assert echoed.content[0].text == "hello"
    assert (refused.value.error.code, refused.value.error.message) == (-32602, "Unknown tool: add")
    assert server.calls() == [["echo", {"text": "hello"}]]
