"""Tools under control behind every transport: the gateway's own listing and the filter do not know how a server is reached."""

from __future__ import annotations

import json

import msgspec
import pytest
from mcp.shared.exceptions import MCPError

from proxies.contract import MCPControl, MCPSettings
from tests.integration.mcp.test_transports_sdk import CLIENT_KEY, connect
from tests.mcp_control import ControlConsole, accept_all, named
from tests.mcp_rules import small_ruleset
from tests.mcp_server import PROGRAM, OtherServer
from tests.proxy_harness import running_proxy


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_T_03_and_T_04_only_what_was_approved_is_listed_and_called(other_server: OtherServer, mode: str) -> None:
    console = ControlConsole(judge=lambda observation: MCPControl())
    async with running_proxy(
        type="mcp",
        target_url=other_server.url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        console=console.take,
        mcp=MCPSettings(transport=other_server.transport, stdio=other_server.stdio, control=MCPControl()),
    ) as proxy:
        console.attach(proxy)
        await proxy.runtime.controlled.discover("obs_1", "request")
        seen = console.observations[0]
        assert seen.failure == ""
        everything = accept_all(seen)
        approved = msgspec.structs.replace(everything, tools={"add": everything.tools["add"]})
        console.judge = lambda observation: approved
        console.publish(approved)
        async with connect(proxy, mode) as client:
            assert named((await client.list_tools()).tools) == ["add"]
            result = await client.call_tool("add", {"a": 2, "b": 3})
            with pytest.raises(MCPError, match="Unknown tool: echo"):
                await client.call_tool("echo", {"text": "hidden"})
    assert result.content[0].text == "5"
    assert other_server.calls() == [["add", {"a": 2, "b": 3}]]
    assert {"add", "echo"} <= everything.tools.keys()
    if other_server.transport == "stdio":
        assert json.loads(seen.origin)[1] == str(PROGRAM)
    else:
        assert seen.origin == other_server.url
