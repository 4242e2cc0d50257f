"""The same message gets the same verdict on every transport, and each exchange is one row with what was found on both ways."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from rules.model import Target
from tests.integration.mcp.test_matrix import CLIENTS
from tests.integration.mcp.test_tool_control import Scripted
from tests.mcp_control import tool
from tests.mcp_rules import ALERTED, BLOCKED, RESPONSE_BLOCKED
from tests.mcp_wire import json_answer, rpc, text_result, wire
from tests.rawpeer import RawMessage, UpstreamPeer

ARGUMENT, RESULT = "/params/arguments/text", "/result/content/0/text"
EXPECTED = [
    ("tools/list", "allowed", [("TEST-0002", Target.TOOL_DESCRIPTION, "/result/tools/0/description")]),
    (
        "tools/call say",
        "allowed",
        [("TEST-0002", Target.TOOL_ARGS, ARGUMENT), ("TEST-0002", Target.TOOL_RESULT, RESULT)],
    ),
    ("tools/call say", "blocked", [("TEST-0001", Target.TOOL_ARGS, ARGUMENT)]),
    ("tools/call say", "blocked", [("TEST-0003", Target.TOOL_RESULT, RESULT)]),
]


async def said(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
    """What is asked for comes back; the word `wrong` brings an answer that may not pass."""
    text = rpc(raw)["params"]["arguments"]["text"]
    return json_answer(text_result(rpc(raw)["id"], RESPONSE_BLOCKED if text == "wrong" else text))


@pytest.mark.parametrize("transport", ["streamable-legacy", "sse", "websocket"])
async def test_SYP_TRAFFIC_1_and_SYP_TRAFFIC_2_and_SYP_ACT_1_every_transport_has_the_same_rule_hits(
    transport: str,
) -> None:
    server = Scripted(tool("say", f"Says it. {ALERTED}"), tools_call=said)
    async with wire(server) as ends, CLIENTS[transport](ends.proxy) as client:
        await client.list_tools()
        assert (await client.call_tool("say", {"text": ALERTED})).content[0].text == ALERTED
        for text in (BLOCKED, "wrong"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool("say", {"text": text})
            assert refused.value.error.code == -32010
        rows: list[Any] = [
            (one.operation, one.outcome, [(hit.rule_id, hit.target, hit.path) for hit in one.findings])
            for one in ends.proxy.records
            if one.operation.startswith("tools/")
        ]
        arrived = [
            rpc(one)["params"]["arguments"]["text"] for one in ends.upstream.requests if b"tools/call" in one.body
        ]
    assert rows == EXPECTED
    assert arrived == [ALERTED, "wrong"], "what is blocked never arrives"
