"""Scans over HTTP+SSE and WebSocket: login, sessions, Origin and Host are looked at where such a server is opened."""

from __future__ import annotations

import pytest

from proxies.contract import ScanTarget, UpstreamAuth
from proxies.contract.mcp import MCPTransport
from proxies.scan.channel_way import _handles, _with_handle
from proxies.scan.run import ScanFailed
from rules.scanning import assess
from tests.integration.scanner.test_prober import checks, probe
from tests.support.channel_servers import sse_server, websocket_server

SERVERS = {"sse": sse_server, "websocket": websocket_server}
BOTH = pytest.mark.parametrize("transport", ["sse", "websocket"])
OF_THE_WAY = {"MCP-AUTH-001", "MCP-AUTH-003", "MCP-ORIGIN-001", "MCP-HOST-001", "MCP-CORS-001"}
OF_SESSIONS = {"MCP-SESSION-001", "MCP-SESSION-002", "MCP-SESSION-003"}
RIGHT = UpstreamAuth("bearer", "", "right")


@BOTH
async def test_SYP_SCAN_1_a_careless_server_is_told_by_its_handshake(transport: MCPTransport) -> None:
    async with SERVERS[transport](guarded=False) as url:
        facts = await probe(ScanTarget(target_url=url, transport=transport))
    assert {"MCP-AUTH-001", "MCP-ORIGIN-001", "MCP-HOST-001"} <= checks(facts)
    assert ("MCP-CORS-001" in checks(facts)) is (transport == "sse")
    assert (checks(facts) & OF_SESSIONS == {"MCP-SESSION-001", "MCP-SESSION-003"}) is (transport == "sse")
    assert facts.access.anonymous_methods == ("initialize", "tools/list")
    assert facts.access.anonymous_call
    assert [tool["name"] for tool in facts.description.tools] == ["add"]


@BOTH
async def test_a_credential_that_any_other_can_take_the_place_of_is_told(transport: MCPTransport) -> None:
    async with SERVERS[transport](guarded=False) as url:
        facts = await probe(ScanTarget(target_url=url, transport=transport, upstream_auth=RIGHT))
    assert facts.access.credential_given
    assert facts.access.anonymous_methods == ("initialize", "tools/list")
    assert "MCP-AUTH-001" in checks(facts)


@BOTH
async def test_SYP_SCAN_1_a_guarded_server_is_scanned_with_its_credential(transport: MCPTransport) -> None:
    async with SERVERS[transport](guarded=True) as url:
        facts = await probe(ScanTarget(target_url=url, transport=transport, upstream_auth=RIGHT))
    assert facts.access.refused_status == 401
    assert not facts.access.wrong_credential_accepted
    assert facts.access.anonymous_methods == ()
    assert facts.access.authorization.challenge == "Bearer"
    assert (facts.boundary.foreign_origin_status, facts.boundary.foreign_host_status) == (403, 403)
    assert checks(facts).isdisjoint(OF_THE_WAY | OF_SESSIONS)
    topics = {"authentication", "authorization_metadata", "origin", "host", "lists", "errors"}
    assert topics <= set(facts.gathered)
    assert ("sessions" in facts.gathered) is (transport == "sse")
    # Everything that a passive scan can ask of such a server was asked.
    assert assess(facts, lambda texts: []).coverage_percent > 85


@BOTH
async def test_without_the_credential_what_stands_before_the_login_is_scanned(transport: MCPTransport) -> None:
    async with SERVERS[transport](guarded=True) as url:
        facts = await probe(ScanTarget(target_url=url, transport=transport))
    assert facts.access.refused_status == 401
    assert "lists" not in facts.gathered


@BOTH
async def test_an_address_without_such_a_server_is_told(transport: MCPTransport) -> None:
    async with sse_server(guarded=False) as url:
        with pytest.raises(ScanFailed, match="404"):
            await probe(ScanTarget(target_url=url.replace("/sse", "/nothing"), transport=transport))


@pytest.mark.parametrize(
    ("endpoints", "handles", "changed"),
    [
        (["/m?sid=a1&x=1", "/m?sid=b2&x=1"], ["a1", "b2"], "/m?sid=new&x=1"),
        (["/m/a1/in?x=1", "/m/b2/in?x=1"], ["a1", "b2"], "/m/new/in?x=1"),
        (["/m", "/m"], [], ""),
        (["/m?sid=a1"], [], ""),
    ],
)
def test_by_what_streams_are_told_apart(endpoints: list[str], handles: list[str], changed: str) -> None:
    found = _handles(endpoints)
    assert [value for _, value in found] == handles
    if found:
        assert _with_handle(endpoints[0], found[0][0], "new") == changed
