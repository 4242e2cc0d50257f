"""The official MCP client over Streamable HTTP in front of the official server behind every other transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from proxies.contract import MCPSettings
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_server import OtherServer
from tests.proxy_harness import RunningProxy, running_proxy

CLIENT_KEY = "ost_" + "k" * 43
ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])


@pytest.fixture
async def proxy(other_server: OtherServer) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp",
        target_url=other_server.url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        mcp=MCPSettings(transport=other_server.transport, stdio=other_server.stdio),
    ) as running:
        yield running


@asynccontextmanager
async def connect(proxy: RunningProxy, mode: str, **options: Any) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{proxy.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


@ERAS
async def test_P_01_lists_and_calls_tools_in_both_eras(proxy, other_server, mode) -> None:
    async with connect(proxy, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("add", {"a": 2, "b": 3})
        prompt = await client.get_prompt("summarize", {"topic": "gateways"})
        resource = await client.read_resource("test://greeting")

    assert {"echo", "add", "slow", "run_command"} <= names
    assert result.content[0].text == "5"
    assert "gateways" in prompt.messages[0].content.text
    assert resource.contents[0].text == "hello from a resource"
    assert other_server.calls() == [["add", {"a": 2, "b": 3}]]
    call = next(record for record in proxy.records if record.operation == "tools/call add")
    assert (call.outcome, call.status) == ("allowed", 200)
    assert call.protocol == ("mcp.legacy" if mode == "legacy" else "mcp.modern")
    assert proxy.upstream.open_channels == (0 if mode == "legacy" else 1)


@ERAS
async def test_P_01_what_the_rules_block_does_not_reach_the_process(proxy, other_server, mode) -> None:
    async with connect(proxy, mode) as client:
        with pytest.raises(MCPError):
            await client.call_tool("run_command", {"args": f"status; {BLOCKED}"})
        with pytest.raises(MCPError):
            await client.call_tool("mailbox", {})

    assert other_server.calls() == [["mailbox", {}]]


@ERAS
async def test_P_04_progress_reaches_the_call_it_belongs_to(proxy, mode) -> None:
    seen: dict[str, list[float]] = {"first": [], "second": []}

    def noting(name: str) -> Any:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen[name].append(progress)

        return note

    async with connect(proxy, mode) as first, connect(proxy, mode) as second:
        await asyncio.gather(
            first.call_tool("slow", {"steps": 3}, progress_callback=noting("first")),
            second.call_tool("slow", {"steps": 5}, progress_callback=noting("second")),
        )

    assert seen == {"first": [1, 2, 3], "second": [1, 2, 3, 4, 5]}


async def test_P_04_elicitation_of_a_process_reaches_the_client(proxy) -> None:
    from mcp.types import ElicitResult

    async def wish(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"wish": "rain"})

    async with connect(proxy, "legacy", elicitation_callback=wish) as client:
        result = await client.call_tool("ask", {})

    assert result.content[0].text == "rain"
