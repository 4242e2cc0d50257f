"""Tools and users behind a proxy are sent to the hosts that it allows, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.contract import MCPSettings
from rules.model import Action
from tests.mcp_legacy_server import Server
from tests.mcp_wire import request, stream_answer, text_result, wire

ALLOWING = MCPSettings(egress_hosts=("api.example.org",))


async def sent(method: str, settings: MCPSettings = ALLOWING, server: Server | None = None, **params: Any) -> Any:
    """The record of one request, what the client got, and how often the server was asked."""
    enforcement = params.pop("enforcement", "enforce")
    async with wire(server or Server(), mcp=settings, policies=(), packs=(), enforcement=enforcement) as ends:
        session = await ends.client.initialize(capabilities={"elicitation": {"url": {}}})
        before = len(ends.upstream.requests)
        answer = await ends.client.post(request(method, 1, **params), session=session)
        return ends.proxy.records[-1], answer.text, len(ends.upstream.requests) - before


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "fetch", "arguments": {"request": [{"to": "see https://evil.example/a"}]}}),
        ("tools/call", {"name": "fetch", "arguments": {"url": "evil.example"}}),
        ("resources/read", {"uri": "https://evil.example/data"}),
        ("prompts/get", {"name": "read", "arguments": {"page": "//evil.example/"}}),
    ],
)
async def test_SLG_ROAD_3_a_call_to_another_host_is_refused_and_on_record(method: str, params: dict[str, Any]) -> None:
    record, text, arrived = await sent(method, **params)
    assert arrived == 0
    assert "-32010" in text
    assert "evil" not in text
    assert (record.outcome, record.action) == ("blocked", Action.BLOCK)
    (finding,) = record.findings
    assert (finding.rule_id, finding.evidence) == ("MCP-EGRESS-001", "evil.example")


@pytest.mark.parametrize("settings", [ALLOWING, MCPSettings()])
async def test_SLG_ROAD_3_what_is_allowed_or_not_listed_at_all_arrives(settings: MCPSettings) -> None:
    host = "api.example.org" if settings.egress_hosts else "anywhere.example"
    record, _, arrived = await sent("tools/call", settings, name="fetch", arguments={"url": f"https://{host}/"})
    assert (record.outcome, record.findings, arrived) == ("allowed", (), 1)


async def test_SLG_ROAD_3_a_proxy_that_only_logs_lets_pass_and_records() -> None:
    arguments = {"url": "https://evil.example/"}
    record, _, arrived = await sent("tools/call", name="fetch", arguments=arguments, enforcement="log_only")
    assert (record.outcome, arrived) == ("allowed", 1)
    assert [one.rule_id for one in record.findings] == ["MCP-EGRESS-001"]


@pytest.mark.parametrize(("host", "passes"), [("api.example.org", True), ("login.evil.example", False)])
async def test_L_14_users_are_sent_to_allowed_hosts_only(host: str, passes: bool) -> None:
    asked = request(
        "elicitation/create", "e-1", mode="url", url=f"https://{host}/login", elicitationId="x", message="Log in."
    )
    server = Server(tools_call=stream_answer(asked, text_result(1, "went on")))
    record, text, _ = await sent("tools/call", server=server, name="t")
    assert (f"https://{host}/login" in text) is passes
    assert "went on" in text
    assert [one.evidence for one in record.findings] == ([] if passes else [host])
    if passes:
        assert host in record.reason
