"""Any client transport in front of any server transport, with the bridge and without it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import types

from proxies.contract import EraPolicy, MCPSettings, MCPTransport, StdioServer
from tests.integration.mcp.test_matrix import CLIENTS
from tests.mcp_rules import small_ruleset
from tests.mcp_server import PROGRAM, running_mcp_server
from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import RunningProxy, running_proxy


@pytest.fixture(scope="module", params=["sse", "websocket", "stdio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, Any]]:
    """Transport, target and launch of a server."""
    transport: MCPTransport = request.param
    if transport == "stdio":
        log = tmp_path_factory.mktemp("server") / "calls.jsonl"
        argv = (sys.executable, str(PROGRAM), str(log), "stdio")
        yield transport, "", StdioServer(argv=argv, environment={"PYTHONPATH": str(Path.cwd())})
        return
    with running_mcp_server(request.param) as running:
        yield transport, running.url, None


@pytest.fixture(params=["same", "bridge"])
async def proxy(request: pytest.FixtureRequest, server: tuple[Any, str, Any]) -> AsyncIterator[RunningProxy]:
    transport, url, stdio = server
    era: EraPolicy = request.param
    async with running_proxy(
        type="mcp",
        target_url=url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        mcp=MCPSettings(transport=transport, stdio=stdio, era=era),
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
