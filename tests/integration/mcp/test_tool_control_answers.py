"""Tools under control: results inside batches, and completions for what may not pass."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.contract import EntryRule, MCPControl, MCPSettings
from rules.pinning.canonical import hash_json
from tests.integration.mcp.test_tool_control import ADDING, Scripted, scripted
from tests.mcp_control import ControlConsole, accepting
from tests.mcp_legacy_server import Server
from tests.mcp_wire import MODERN, json_answer, messages_of, request, result, rpc, stream_answer, wire
from tests.rawpeer import RawMessage, UpstreamPeer


@pytest.mark.parametrize("streamed", [False, True])
async def test_T_10_and_L_07_a_result_in_a_batch_is_one_that_its_tool_gives(streamed: bool) -> None:
    async def batch(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        sums = {1: 3, 2: "secret"}
        answers = [result(one["id"], content=[], structuredContent={"sum": sums[one["id"]]}) for one in rpc(raw)]
        return stream_answer(*answers) if streamed else json_answer(answers)

    legacy = Server("2025-03-26", batch=batch)

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        message = rpc(raw) if raw.body else None
        if type(message) is dict and message.get("method") == "tools/list":
            return json_answer(result(message["id"], tools=[ADDING]))
        return await legacy(raw, peer)

    console = ControlConsole()
    async with wire(respond, console=console.take, mcp=MCPSettings(control=accepting(ADDING))) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize("2025-03-26")
        calls = [request("tools/call", id, name="add", arguments={"a": id}) for id in (1, 2)]
        answer = await ends.client.post(calls, session=session)
    answers = messages_of(answer.text) if streamed else answer.json()
    by_id = {one["id"]: one for one in answers}
    assert by_id[1]["result"]["structuredContent"] == {"sum": 3}
    assert (by_id[2]["error"]["code"], by_id[2]["error"]["data"]["code"]) == (-32012, "upstream_invalid")
    assert "secret" not in answer.text
    record = next(one for one in ends.proxy.records if one.operation == "batch of 2")
    assert "outputSchema" in record.reason


# --- What can be completed --------------------------------------------------------------------------------------------

PROMPT = {"name": "greet", "arguments": [{"name": "who"}]}
TEMPLATE = {"name": "logs", "uriTemplate": "log:///{day}"}


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ({"type": "ref/prompt", "name": "greet"}, None),
        ({"type": "ref/prompt", "name": "hidden"}, -32602),
        ({"type": "ref/prompt", "name": "no such"}, -32602),
        ({"type": "ref/resource", "uri": "log:///{day}"}, None),
        ({"type": "ref/resource", "uri": "secret:///{name}"}, -32602),
        ({"type": "ref/resource", "uri": "file:///readme"}, None),
        ({"type": "ref/resource", "uri": "file:///other"}, -32602),
        ({"type": "ref/other", "name": "greet"}, -32602),
        ({}, -32602),
    ],
)
async def test_T_09_only_what_may_be_asked_for_is_completed(era: str, ref: dict[str, Any], code: int | None) -> None:
    shared = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"} if era == "modern" else {}

    def lists(member: str, *entries: dict[str, Any]) -> Any:
        async def answer(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
            return json_answer(result(rpc(raw)["id"], **{member: list(entries)}, **shared))

        return answer

    completed: list[Any] = []

    async def complete(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        completed.append(rpc(raw)["params"]["ref"])
        kind = {"resultType": "complete"} if era == "modern" else {}
        return json_answer(result(rpc(raw)["id"], completion={"values": ["a"]}, **kind))

    capabilities = {"prompts": {}, "resources": {}, "completions": {}}

    async def about(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        info = {"capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}}
        if era == "modern":
            return json_answer(result(rpc(raw)["id"], supportedVersions=[MODERN], **info, **shared))
        return json_answer(result(rpc(raw)["id"], protocolVersion="2025-11-25", **info), 200, "Mcp-Session-Id: s-1")

    server = Scripted(
        era=era,
        **{"initialize" if era == "legacy" else "server_discover": about},
        prompts_list=lists("prompts", PROMPT, {**PROMPT, "name": "hidden"}),
        resources_templates_list=lists("resourceTemplates", TEMPLATE, {**TEMPLATE, "uriTemplate": "secret:///{name}"}),
        resources_list=lists("resources", {"name": "readme", "uri": "file:///readme"}),
        completion_complete=complete,
    )
    control = MCPControl(
        prompts={"greet": EntryRule(accepted=(hash_json(PROMPT),))},
        templates={"log:///{day}": EntryRule(accepted=(hash_json(TEMPLATE),))},
    )
    console = ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=control)) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        body = request("completion/complete", 6, ref=ref, argument={"name": "who", "value": "a"})
        answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    assert answer.json().get("error", {}).get("code") == code
    assert completed == ([] if code else [ref])
