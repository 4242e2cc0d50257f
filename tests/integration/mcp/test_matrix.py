"""Every client in front of every server: transport and era of the client against the era of the server (E-01, E-05)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from proxies.contract import MCPSettings
from tests.mcp_downstreams import sse_session, websocket_session
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_server import MCPServerProcess, Servers
from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import RunningProxy, running_proxy


@asynccontextmanager
async def streamable(proxy: RunningProxy, mode: str, **options: Any) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{proxy.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


CLIENTS = {
    "streamable-legacy": lambda proxy, **options: streamable(proxy, "legacy", **options),
    "streamable-modern": lambda proxy, **options: streamable(proxy, "2026-07-28", **options),
    "streamable-auto": lambda proxy, **options: streamable(proxy, "auto", **options),
    "sse": sse_session,
    "websocket": websocket_session,
}


@pytest.fixture(params=["legacy_only", "modern_only", "plain"])
def one_server(request: pytest.FixtureRequest, servers: Servers) -> MCPServerProcess:
    return servers(request.param)


@pytest.fixture
async def proxy(one_server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp",
        target_url=one_server.url,
        client_key=CLIENT_KEY,
        ruleset=small_ruleset(),
        mcp=MCPSettings(era="bridge"),
    ) as running:
        yield running


@pytest.fixture(params=list(CLIENTS))
def connect(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


Connect = Any


async def test_E_05_lists_calls_prompts_and_resources(proxy, connect: Connect, one_server) -> None:
    async with connect(proxy) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        added = await client.call_tool("add", {"a": 2, "b": 3})
        prompt = await client.get_prompt("summarize", {"topic": "gateways"})
        resource = await client.read_resource("test://greeting")
        instructions = client.instructions if hasattr(client, "instructions") else None
    assert {"echo", "add", "slow"} <= tools
    assert added.content[0].text == "5"
    assert "gateways" in prompt.messages[0].content.text
    assert resource.contents[0].text == "hello from a resource"
    assert instructions in (None, "Tools for testing a gateway.")
    assert one_server.calls() == [["add", {"a": 2, "b": 3}]]


async def test_E_05_progress_arrives_before_the_result(proxy, connect: Connect) -> None:
    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async with connect(proxy) as client:
        result = await client.call_tool("slow", {"steps": 3}, progress_callback=progress)
    assert result.content[0].text == "counted"
    assert seen == [1, 2, 3]


async def test_E_05_a_question_reaches_the_user_and_its_answer_the_server(proxy, connect: Connect, one_server) -> None:
    async def elicit(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "What do you wish?"
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with connect(proxy, elicitation_callback=elicit) as client:
        result = await client.call_tool("ask_either", {})
    assert result.content[0].text == "peace"
    assert one_server.calls() == [["ask_either", {"wish": "peace"}]]


async def test_E_05_a_blocked_argument_never_arrives_and_a_blocked_result_neither(
    proxy, connect: Connect, one_server
) -> None:
    async with connect(proxy) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("run_command", {"args": BLOCKED})
        with pytest.raises(MCPError) as withheld:
            await client.call_tool("mailbox", {})
        after = await client.call_tool("echo", {"text": "still here"})
    assert refused.value.error.code == withheld.value.error.code == -32010
    assert after.content[0].text == "still here"
    assert one_server.calls() == [["mailbox", {}], ["echo", {"text": "still here"}]]


async def test_E_05_mirrored_arguments_reach_either_server(proxy, connect: Connect) -> None:
    async with connect(proxy) as client:
        await client.list_tools()
        result = await client.call_tool("lookup", {"region": "Zürich", "id": 7})
    assert result.content[0].text == "Zürich/7"


async def test_E_05_a_cancelled_call_is_cancelled_at_the_server(proxy, connect: Connect, one_server) -> None:
    started = asyncio.Event()

    async def progress(_value: float, _total: float | None, _message: str | None) -> None:
        started.set()

    async with connect(proxy) as client:
        arguments = {"steps": 2000, "step_seconds": 0.01}
        call = asyncio.ensure_future(client.call_tool("slow", arguments, progress_callback=progress))
        async with asyncio.timeout(20):
            await started.wait()
        call.cancel()
        await asyncio.wait({call})
        assert (await client.call_tool("echo", {"text": "after"})).content[0].text == "after"
    assert ["slow finished", {}] not in one_server.calls()
