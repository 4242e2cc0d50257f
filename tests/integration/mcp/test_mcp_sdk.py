"""The official MCP client, in both eras, through a real proxy to a real MCP server: story step 4 of the product."""

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

from rules.model import Action, Target
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_server import MCPServerProcess, Servers
from tests.mcp_wire import initialize_answer, json_answer, result, rpc, rpc_error, wire
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer, http_response

CLIENT_KEY = "ost_" + "k" * 43
UPSTREAM_KEY = "upstream-credential-for-tests"
INJECTION = f"status; {BLOCKED}"
ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
MODERN = ("2026-07-28", "auto")


@pytest.fixture
async def proxy(server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp",
        target_url=server.url,
        client_key=CLIENT_KEY,
        upstream_bearer=UPSTREAM_KEY,
        ruleset=small_ruleset(),
    ) as running:
        yield running


@asynccontextmanager
async def connect(proxy: RunningProxy, mode: str, **options: Any) -> AsyncIterator[Client]:
    """An SDK client in the given mode: the handshake era, the modern era, or whichever it finds."""
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{proxy.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


def protocol(mode: str) -> str:
    return "mcp.modern" if mode in MODERN else "mcp.legacy"


@ERAS
async def test_lists_and_calls_tools_in_both_eras(proxy, server, mode) -> None:
    async with connect(proxy, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("add", {"a": 2, "b": 3})

    assert {"echo", "add", "slow", "run_command"} <= names
    assert result.content[0].text == "5"
    assert server.calls() == [["add", {"a": 2, "b": 3}]]
    call = next(record for record in proxy.records if record.operation == "tools/call add")
    assert (call.protocol, call.outcome, call.status) == (protocol(mode), "allowed", 200)
    assert call.principal_id == "key_test"


@ERAS
async def test_prompts_and_resources_pass_in_both_eras(proxy, mode) -> None:
    async with connect(proxy, mode) as client:
        prompt = await client.get_prompt("summarize", {"topic": "gateways"})
        resource = await client.read_resource("test://greeting")

    assert "gateways" in prompt.messages[0].content.text
    assert resource.contents[0].text == "hello from a resource"


@ERAS
async def test_D_01_shell_injection_in_an_argument_is_a_json_rpc_error_and_never_arrives(proxy, server, mode) -> None:
    async with connect(proxy, mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("run_command", {"args": INJECTION})
        after = await client.call_tool("echo", {"text": "still here"})

    assert refused.value.error.code == -32010
    assert refused.value.error.message == "Blocked by gateway policy"
    call = next(record for record in proxy.records if record.operation == "tools/call run_command")
    assert refused.value.error.data == {"ref": call.id}
    assert (call.status, call.outcome, call.action) == (200, "blocked", Action.BLOCK)
    assert call.findings[0].target is Target.TOOL_ARGS
    assert after.content[0].text == "still here"
    assert server.calls() == [["echo", {"text": "still here"}]]


@ERAS
async def test_I_03_a_poisoned_tool_description_raises_an_alert(proxy, mode) -> None:
    async with connect(proxy, mode) as client:
        listed = (await client.list_tools()).tools

    listing = next(record for record in proxy.records if record.operation == "tools/list")
    assert (listing.action, listing.outcome) == (Action.ALERT, "allowed")
    (finding,) = listing.findings
    assert finding.target is Target.TOOL_DESCRIPTION
    assert finding.path == f"/result/tools/{[tool.name for tool in listed].index('add_carefully')}/description"


@ERAS
async def test_I_04_a_blocked_tool_result_never_reaches_the_client(proxy, server, mode) -> None:
    async with connect(proxy, mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("mailbox", {})

    assert refused.value.error.code == -32010
    call = next(record for record in proxy.records if record.operation == "tools/call mailbox")
    assert (call.status, call.outcome) == (200, "blocked")
    assert {finding.target for finding in call.findings} == {Target.TOOL_RESULT}
    assert server.calls() == [["mailbox", {}]]


@ERAS
async def test_progress_arrives_before_the_result(proxy, mode) -> None:
    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async with connect(proxy, mode) as client:
        result = await client.call_tool("slow", {"steps": 3}, progress_callback=progress)

    assert result.content[0].text == "counted"
    assert seen == [1, 2, 3]
    call = next(record for record in proxy.records if record.operation == "tools/call slow")
    assert call.streamed


async def test_L_12_a_server_request_reaches_the_client_and_its_answer_the_server(proxy, server) -> None:
    from mcp import types

    async def elicit(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "What do you wish?"
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with connect(proxy, "legacy", elicitation_callback=elicit) as client:
        result = await client.call_tool("ask", {})

    assert result.content[0].text == "peace"
    assert ["ask", {"action": "accept"}] in server.calls()
    assert any(record.operation == "response elicitation/create" for record in proxy.records)


async def test_M_03_annotated_arguments_are_mirrored_and_checked(proxy, server) -> None:
    async with connect(proxy, "2026-07-28") as client:
        await client.list_tools()
        result = await client.call_tool("lookup", {"region": "Zürich", "id": 7})

    assert result.content[0].text == "Zürich/7"
    assert server.calls() == [["lookup", {"region": "Zürich", "id": 7}]]


async def test_M_14_a_listener_hears_that_the_tools_changed(proxy) -> None:
    async with connect(proxy, "2026-07-28") as client, client.listen(tools_list_changed=True) as subscription:
        await client.call_tool("announce", {})
        async with asyncio.timeout(10):
            event = await anext(aiter(subscription))

    assert type(event).__name__ == "ToolsListChanged"
    await proxy.wait_for_records(3)
    listening = next(record for record in proxy.records if record.operation == "subscriptions/listen")
    assert listening.streamed


async def test_L_13_leaving_ends_the_session_on_both_legs(proxy) -> None:
    async with connect(proxy, "legacy") as client:
        await client.list_prompts()

    ended = next(record for record in proxy.records if record.operation == "session end")
    assert (ended.method, ended.status) == ("DELETE", 204)


async def test_an_unknown_key_is_refused_with_401(server) -> None:
    async with running_proxy(
        type="mcp", target_url=server.url, client_key="ost_" + "x" * 43, ruleset=small_ruleset()
    ) as other:
        with pytest.RaisesGroup(pytest.RaisesExc(MCPError, check=is_not_authorised), flatten_subgroups=True):
            async with connect(other, "legacy"):
                pass

    assert {record.status for record in other.records} == {401}
    assert server.calls() == []


def is_not_authorised(error: MCPError) -> bool:
    return error.error.code == -32011 and "API key" in error.error.message


@pytest.fixture(params=["json", "stateless", "resumable"])
async def other_proxy(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp", target_url=servers(request.param).url, client_key=CLIENT_KEY, ruleset=small_ruleset()
    ) as running:
        yield running


@ERAS
async def test_servers_that_answer_in_other_ways(other_proxy, mode) -> None:
    async with connect(other_proxy, mode) as client:
        result = await client.call_tool("echo", {"text": "hello"})

    assert result.content[0].text == "hello"


async def test_L_10_a_client_that_was_sent_away_fetches_its_answer_later(servers) -> None:
    url = servers("resumable").url
    async with (
        running_proxy(type="mcp", target_url=url, client_key=CLIENT_KEY, ruleset=small_ruleset()) as proxy,
        connect(proxy, "legacy") as client,
    ):
        result = await client.call_tool("poll", {})
    assert result.content[0].text == "fetched"
    assert "stream resumed" in [record.operation for record in proxy.records]


async def test_E_02_a_client_that_probes_falls_back_on_a_legacy_upstream() -> None:
    async def legacy_only(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            return http_response(405)
        message = rpc(raw)
        if message["method"] == "server/discover":
            return json_answer(rpc_error("server-error", -32600, "Bad Request: Missing session ID"), 400)
        if message["method"] == "initialize":
            return initialize_answer(raw)
        if "id" not in message:
            return http_response(202)
        return json_answer(result(message["id"], tools=[]))

    async with wire(legacy_only) as (_client, upstream, proxy), connect(proxy, "auto") as client:
        assert (await client.list_tools()).tools == []
        assert client.protocol_version == "2025-11-25"
    assert rpc(upstream.requests[0])["method"] == "server/discover"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_what_passes_is_equal_to_what_the_server_says_directly(proxy, server, mode) -> None:
    async def listed(client: Client) -> list[Any]:
        answers = [await client.list_tools(), await client.list_prompts(), await client.list_resources()]
        # The gateway shortens how long a client may keep a list (M-17).
        return [answer.model_dump(exclude={"ttl_ms", "cache_scope"}) for answer in answers]

    async with Client(server.url, mode=mode) as direct, connect(proxy, mode) as through:
        assert await listed(through) == await listed(direct)
        assert (await through.call_tool("add", {"a": 1, "b": 2})) == (await direct.call_tool("add", {"a": 1, "b": 2}))
