"""Tools under control through a real proxy: what nobody approved is neither listed nor called (T-01..T-09)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from proxies.contract import EntryRule, MCPControl, MCPSettings
from rules.model import Action, Target
from tests.integration.mcp.test_mcp_sdk import CLIENT_KEY, ERAS, UPSTREAM_KEY, connect
from tests.mcp_control import ControlConsole, accept_all, accepting, named, tool
from tests.mcp_legacy_server import Server
from tests.mcp_rules import small_ruleset
from tests.mcp_server import MCPServerProcess
from tests.mcp_wire import MODERN, Wire, initialize_answer, json_answer, request, result, rpc, text_result, wire
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer, http_response

UNDER_CONTROL = MCPSettings(control=MCPControl())


@asynccontextmanager
async def controlled(
    server: MCPServerProcess, console: ControlConsole, control: MCPControl | None = None
) -> AsyncIterator[RunningProxy]:
    """A proxy under control in front of the real server."""
    async with running_proxy(
        type="mcp",
        target_url=server.url,
        client_key=CLIENT_KEY,
        upstream_bearer=UPSTREAM_KEY,
        ruleset=small_ruleset(),
        console=console.take,
        mcp=MCPSettings(control=control or MCPControl()),
    ) as proxy:
        console.attach(proxy)
        yield proxy


class Scripted:
    """A scripted server of both eras whose declarations a test changes."""

    def __init__(self, *tools: dict[str, Any], page_size: int = 100, **more: Any) -> None:
        self.tools = list(tools)
        self.page_size = page_size
        self.instructions: str | None = more.pop("instructions", None)
        self.era = more.pop("era", "legacy")
        self.info: dict[str, Any] | None = None
        self.calls: list[str] = []
        self.lists = 0
        self.answers = more

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            answer = self.answers.get(raw.method, http_response(405 if raw.method == "GET" else 200))
            return await answer(raw, peer) if callable(answer) else answer
        message = rpc(raw)
        method, id = message["method"], message.get("id")
        if custom := self.answers.get(method.replace("/", "_")):
            return await custom(raw, peer) if callable(custom) else custom
        if id is None:
            return http_response(202)
        shared = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"} if self.era == "modern" else {}
        about: dict[str, Any] = {"instructions": self.instructions} if self.instructions is not None else {}
        if self.info is not None:
            modern = {"_meta": {"io.modelcontextprotocol/serverInfo": self.info}}
            about |= {"serverInfo": self.info} if method == "initialize" else modern
        if method == "server/discover":
            if self.era == "legacy":
                return json_answer({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "what?"}}, 400)
            return json_answer(
                result(id, supportedVersions=[MODERN], capabilities={"tools": {"listChanged": True}}, **about, **shared)
            )
        if method == "initialize":
            return initialize_answer(raw, **about)
        if method == "tools/list":
            self.lists += 1
            start = int(message.get("params", {}).get("cursor", 0))
            end = start + self.page_size
            more = {"nextCursor": str(end)} if end < len(self.tools) else {}
            return json_answer(result(id, tools=self.tools[start:end], **more, **shared))
        if method == "tools/call":
            self.calls.append(message["params"]["name"])
            return json_answer({**text_result(id, "done"), "result": {**text_result(id, "done")["result"], **shared}})
        return json_answer({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "what?"}})


@asynccontextmanager
async def scripted(server: Scripted, console: ControlConsole, **config: Any) -> AsyncIterator[Wire]:
    """A plain client, a proxy under control and a scripted server."""
    config.setdefault("mcp", UNDER_CONTROL)
    if console.judge is None:
        # It never answers: that it is waited for is seen in a moment as well.
        config.setdefault("judgement_seconds", 0.1)
    async with wire(server, console=console.take, **config) as ends:
        console.attach(ends.proxy)
        yield ends


async def listed(ends: Wire, session: str | None) -> list[str]:
    body = request("tools/list", 5)
    answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    assert answer.status_code == 200, answer.text
    return named(answer.json()["result"]["tools"])


async def called(ends: Wire, session: str | None, name: str, **arguments: Any) -> dict[str, Any]:
    body = request("tools/call", 6, name=name, arguments=arguments)
    answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    assert answer.status_code == 200, answer.text
    text = answer.text
    return json.loads(text) if text.startswith("{") else json.loads(text.partition("data: ")[2])


# --- Real peers -------------------------------------------------------------------------------------------------------


@ERAS
async def test_T_01_nothing_is_listed_or_called_before_somebody_approved_it(server, mode) -> None:
    console = ControlConsole(judge=lambda observation: MCPControl())
    async with controlled(server, console) as proxy, connect(proxy, mode) as client:
        assert (await client.list_tools()).tools == []
        with pytest.raises(MCPError) as refused:
            await client.call_tool("add", {"a": 2, "b": 3})

    assert server.calls() == []
    assert (refused.value.error.code, refused.value.error.message) == (-32602, "Unknown tool: add")
    assert {"add", "echo", "run_command"} <= {entry.name for one in console.observations for entry in one.entries}


@ERAS
async def test_T_01_what_is_approved_is_listed_by_name_and_called_and_M_18(server, mode) -> None:
    console = ControlConsole(judge=accept_all)
    async with controlled(server, console) as proxy, connect(proxy, mode) as client:
        names = named((await client.list_tools()).tools)
        answer = await client.call_tool("add", {"a": 2, "b": 3})

    assert {"add", "echo"} <= set(names)
    assert names == sorted(names)
    assert answer.content[0].text == "5"
    assert server.calls() == [["add", {"a": 2, "b": 3}]]
    call = next(record for record in proxy.records if record.operation == "tools/call add")
    assert call.tool is not None
    assert (call.tool.name, call.tool.argument_keys, call.tool.is_error) == ("add", ("a", "b"), False)
    assert call.tool.result_bytes > 0


@ERAS
async def test_T_07_prompts_and_instructions_pass_once_they_are_approved(server, mode) -> None:
    console = ControlConsole(judge=lambda observation: MCPControl())
    async with controlled(server, console) as proxy:
        async with connect(proxy, mode) as client:
            assert (await client.list_prompts()).prompts == []
            assert client.instructions is None
            with pytest.raises(MCPError, match="Unknown prompt: summarize"):
                await client.get_prompt("summarize", {"topic": "gateways"})
        await console.wait_for(lambda: any(one.server for one in console.observations))
        complete = next(one for one in console.observations if one.server)
        console.judge = None
        console.publish(accept_all(complete))
        async with connect(proxy, mode) as client:
            assert named((await client.list_prompts()).prompts) == ["summarize"]
            # Whoever pins the modern revision does not ask.
            assert client.instructions == (None if mode == "2026-07-28" else "Tools for testing a gateway.")
            assert (await client.get_prompt("summarize", {"topic": "gateways"})).messages


# --- Calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_T_03_and_T_09_a_hidden_tool_is_an_unknown_one_and_recorded_as_blocked(era: str) -> None:
    server, console = Scripted(tool("good"), tool("new"), era=era), ControlConsole()
    control = accepting(tool("good"))
    async with scripted(server, console, mcp=MCPSettings(control=control)) as ends:
        console.judge = lambda observation: control
        session = await ends.client.initialize() if era == "legacy" else None
        # Nobody has listed: the name was learnt elsewhere.
        refused = await called(ends, session, "new")
        allowed = await called(ends, session, "good")
        unknown = await called(ends, session, "nothing-of-the-kind")
        listing = await listed(ends, session)

    assert refused["error"]["code"] == -32602
    assert refused["error"]["message"] == "Unknown tool: new"
    assert unknown["error"].keys() == refused["error"].keys()
    assert allowed["result"]["content"][0]["text"] == "done"
    assert listing == ["good"]
    assert server.calls == ["good"]
    call = next(one for one in ends.proxy.records if one.operation == "tools/call new")
    assert (call.outcome, call.status, call.action) == ("blocked", 200, Action.BLOCK)
    assert (call.decision.policy, call.decision.rule_id) == ("mcp-tool-filtering", "MCP-TOOL-001")
    assert "pending" in call.reason
    (finding,) = call.findings
    assert (finding.rule_id, finding.pack, finding.target) == ("MCP-TOOL-001", "mcp-tool-filtering", Target.TOOL_NAME)
    assert call.error_code == "mcp_tool_filtering"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (EntryRule(accepted=("0" * 64,)), "changed"),
        (EntryRule(accepted=(), enabled=False, reason="pending"), "pending"),
        (EntryRule(accepted=("0" * 64,), reason="scan"), "scan"),
    ],
)
async def test_T_03_the_record_says_why_a_tool_may_not_pass(rule: EntryRule, reason: str) -> None:
    control = MCPControl(tools={"one": rule})
    server, console = Scripted(tool("one")), ControlConsole(judge=lambda observation: control)
    async with scripted(server, console, mcp=MCPSettings(control=control)) as ends:
        await called(ends, await ends.client.initialize(), "one")
    call = next(one for one in ends.proxy.records if one.operation == "tools/call one")
    assert f"({reason})" in call.reason


async def test_T_03_a_withdrawal_counts_for_the_next_call() -> None:
    server, console = Scripted(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await ends.client.initialize()
        assert "result" in await called(ends, session, "one")
        console.publish(accepting(tool("one"), enabled=False))
        assert "error" in await called(ends, session, "one")
        assert await listed(ends, session) == []
        console.publish(None)
        assert "result" in await called(ends, session, "one")
    assert any("(disabled)" in one.reason for one in ends.proxy.records)


async def test_T_03_a_key_may_have_less_but_never_what_nobody_approved() -> None:
    server, console = Scripted(tool("one"), tool("two"), tool("new")), ControlConsole()
    control = accepting(tool("one"), tool("two"))
    control = MCPControl(tools=control.tools, tool_overrides={"key_test": {"one": False, "new": True}})
    async with scripted(server, console, mcp=MCPSettings(control=control)) as ends:
        console.judge = lambda observation: control
        session = await ends.client.initialize()
        assert await listed(ends, session) == ["two"]
        assert "error" in await called(ends, session, "one")
        assert "error" in await called(ends, session, "new")


async def test_T_03_a_server_that_cannot_be_listed_gets_no_call() -> None:
    broken = json_answer({"jsonrpc": "2.0", "id": 2, "error": {"code": -32603, "message": "out of order"}})
    server, console = Scripted(tool("one"), tools_list=broken), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        refused = await called(ends, await ends.client.initialize(), "one")
    assert refused["error"]["data"]["code"] == "tools_unknown"
    assert server.calls == []


# --- Lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_T_06_all_pages_are_read_before_anything_is_released(era: str) -> None:
    tools = [tool(f"tool-{number:02}") for number in reversed(range(25))]
    server, console = Scripted(*tools, page_size=10, era=era), ControlConsole(judge=accept_all)
    async with scripted(server, console) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        assert await listed(ends, session) == sorted(named(tools))
    assert len(console.names(0)) == 25


async def test_T_06_circles_and_floods_of_pages_end() -> None:
    async def circle(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(result(rpc(raw)["id"], tools=[tool("one")], nextCursor="again"))

    server, console = Scripted(tools_list=circle), ControlConsole(judge=accept_all)
    async with scripted(server, console) as ends:
        session = await ends.client.initialize()
        # The page comes twice, so its tool is a duplicate.
        assert await listed(ends, session) == []
    assert any("circle" in problem for one in console.observations for problem in one.problems)
    assert all("tool" not in one.kinds for one in console.observations)


async def test_T_05_duplicates_are_out_and_reported() -> None:
    server = Scripted(tool("one"), tool("two"), tool("one", "Another one."), page_size=2)
    console = ControlConsole(judge=accept_all)
    async with scripted(server, console) as ends:
        session = await ends.client.initialize()
        assert await listed(ends, session) == ["two"]
        assert "error" in await called(ends, session, "one")
    assert any("one is declared more than once" in problem for problem in console.observations[0].problems)


async def test_T_02_a_change_of_one_character_takes_the_tool_out_and_the_known_list_costs_no_message() -> None:
    server, console = Scripted(tool("one"), tool("two")), ControlConsole(judge=accept_all)
    async with scripted(server, console) as ends:
        session = await ends.client.initialize()
        assert await listed(ends, session) == ["one", "two"]
        console.judge = lambda observation: ends.proxy.runtime.config.mcp.control
        await console.wait_for(lambda: any(one.server for one in console.observations))
        seen = len(console.observations)
        for _ in range(3):
            assert await listed(ends, session) == ["one", "two"]
        assert len(console.observations) == seen
        server.tools[0] = tool("one", "A tool!")
        assert await listed(ends, session) == ["two"]
        assert len(console.observations) == seen + 1
        assert await listed(ends, session) == ["two"]
        assert len(console.observations) == seen + 1
        assert "error" in await called(ends, session, "one")
        server.tools[0] = {"inputSchema": {"type": "object"}, "description": "A tool.", "name": "one"}
        assert await listed(ends, session) == ["one", "two"]


async def test_T_01_a_list_waits_a_moment_for_a_console_and_passes_without_what_is_unknown() -> None:
    server, console = Scripted(tool("one")), ControlConsole()
    async with scripted(server, console) as ends:
        ends.proxy.judgements._wait_seconds = 0.05
        session = await ends.client.initialize()
        assert await listed(ends, session) == []


async def test_M_17_what_waits_for_a_person_is_not_cached() -> None:
    server, console = Scripted(tool("one"), tool("two"), era="modern"), ControlConsole()
    console.judge = lambda observation: accepting(tool("one"))
    async with scripted(server, console) as ends:
        answer = (await ends.client.post_modern(request("tools/list"))).json()["result"]
        assert (answer["ttlMs"], answer["cacheScope"]) == (0, "private")
        await console.wait_for(lambda: any(one.server for one in console.observations))
        console.judge = None
        console.publish(accepting(tool("one"), tool("two")))
        answer = (await ends.client.post_modern(request("tools/list"))).json()["result"]
        assert (answer["ttlMs"], answer["cacheScope"]) == (60_000, "private")


async def test_M_05_a_tool_with_invalid_annotations_is_not_offered_even_if_it_is_approved() -> None:
    schema = {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "a b"}}}
    server = Scripted(tool("bad", inputSchema=schema), tool("good"), era="modern")
    async with scripted(server, ControlConsole(judge=accept_all)) as ends:
        console_names = await listed(ends, None)
    assert console_names == ["good"]


async def test_T_06_a_cursor_that_nobody_was_given_is_refused() -> None:
    server = Scripted(tool("one"))
    async with scripted(server, ControlConsole(judge=accept_all)) as ends:
        session = await ends.client.initialize()
        answer = await ends.client.post(request("tools/list", cursor="10"), session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32602)


async def test_a_poisoned_tool_that_is_hidden_takes_no_other_tool_with_it() -> None:
    server = Scripted(tool("good"), tool("poisoned", "BLOCK-THIS-TEXT"))
    async with scripted(server, ControlConsole(judge=lambda observation: accepting(tool("good")))) as ends:
        session = await ends.client.initialize()
        assert await listed(ends, session) == ["good"]


async def test_L_07_a_list_inside_a_batch_is_controlled_too() -> None:
    async def batch(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer([text_result(one["id"], "done") for one in rpc(raw)])

    legacy = Server("2025-03-26", batch=batch, tools_list=None)
    tools = [tool("one"), tool("two")]

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        message = rpc(raw) if raw.body else None
        if type(message) is dict and message.get("method") == "tools/list":
            return json_answer(result(message["id"], tools=tools))
        return await legacy(raw, peer)

    console = ControlConsole(judge=lambda observation: accepting(tool("two")))
    async with wire(respond, console=console.take, mcp=MCPSettings(control=accepting(tool("two")))) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize("2025-03-26")
        answers = await ends.client.post(
            [
                request("tools/list", 1),
                request("tools/call", 2, name="two", arguments={}),
                request("tools/call", 3, name="one", arguments={}),
            ],
            session=session,
        )
    by_id = {one["id"]: one for one in answers.json()}
    assert named(by_id[1]["result"]["tools"]) == ["two"]
    assert by_id[2]["result"]["content"][0]["text"] == "done"
    assert by_id[3]["error"]["message"] == "Unknown tool: one"


# --- Schemas ----------------------------------------------------------------------------------------------------------

ADDING = tool(
    "add",
    inputSchema={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "where": {"$ref": "https://attacker.test/schema.json"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    outputSchema={"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]},
)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "/a is missing"),
        ({"a": "secret"}, "/a must be integer"),
        ({"a": 1, "sidenote": "secret"}, "/sidenote is not allowed"),
        ({"a": 1, "where": 1}, "/where refers to another document"),
    ],
)
async def test_T_10_arguments_that_the_approved_schema_does_not_describe_never_arrive(era, arguments, words) -> None:
    server, console = Scripted(ADDING, era=era), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(ADDING))) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        refused = await called(ends, session, "add", **arguments)
    assert refused["error"]["code"] == -32602
    assert words in refused["error"]["message"]
    assert "secret" not in json.dumps(refused)
    assert server.calls == []
    call = next(one for one in ends.proxy.records if one.operation == "tools/call add")
    assert (call.outcome, call.error_code) == ("refused", "invalid_arguments")


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(("structured", "passes"), [({"sum": 3}, True), ({"sum": "3"}, False), ({}, False)])
async def test_T_10_a_result_that_is_not_what_the_tool_says_does_not_pass(era, structured, passes) -> None:
    async def add(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        kind = {"resultType": "complete"} if era == "modern" else {}
        return json_answer(result(rpc(raw)["id"], content=[], structuredContent=structured, **kind))

    server, console = Scripted(ADDING, era=era, tools_call=add), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(ADDING))) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        body = request("tools/call", 6, name="add", arguments={"a": 1})
        answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    assert ("result" in answer.json()) is passes
    call = next(one for one in ends.proxy.records if one.operation == "tools/call add")
    assert call.tool is not None
    assert call.tool.is_error is not passes
    if not passes:
        assert (answer.json()["error"]["code"], call.error_code) == (-32012, "upstream_invalid")


async def test_a_failed_call_is_an_error_in_the_record_of_its_tool() -> None:
    async def fail(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(result(rpc(raw)["id"], content=[], isError=True))

    server, console = Scripted(tool("one"), tools_call=fail), ControlConsole()
    async with scripted(server, console, mcp=None) as ends:
        await called(ends, await ends.client.initialize(), "one", z=1, b=2)
    call = next(one for one in ends.proxy.records if one.operation == "tools/call one")
    assert call.tool is not None
    assert (call.tool.name, call.tool.argument_keys, call.tool.is_error) == ("one", ("b", "z"), True)
