"""Which era a server speaks: found out, remembered, said to clients that do not speak it, and watched (E-01..E-07)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxies.contract import MCPSettings
from proxies.mcp.bridge.eras import LEGACY_SECONDS, RECHECK_SECONDS, EraDetector
from proxies.mcp.bridge.leg import ServerLeg
from proxies.transport.errors import UpstreamUnreachable
from rules.model import Action
from tests.integration.mcp.test_matrix import streamable
from tests.mcp_legacy_server import methods
from tests.mcp_rules import small_ruleset
from tests.mcp_wire import (
    CLIENT_KEY,
    MODERN,
    initialize_answer,
    json_answer,
    request,
    result,
    rpc,
    rpc_error,
    stream_head,
    wire,
)
from tests.proxy_harness import running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "eras", "version": "1"}}
DISCOVERED = {
    "supportedVersions": [MODERN],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "private",
}


class Server:
    """A scripted server whose era a test switches."""

    def __init__(self, era: str = "modern") -> None:
        self.era = era

    async def __call__(self, raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            return http_response(405)
        message = rpc(raw)
        if (raw.header("mcp-protocol-version") or "") >= MODERN:
            if self.era != "modern":
                return http_response(400, b"Bad Request")
            if message["method"] == "server/discover":
                return json_answer(result(message["id"], **DISCOVERED))
            return json_answer(result(message["id"], tools=[], resultType="complete", ttlMs=0, cacheScope="private"))
        if self.era != "legacy":
            data = {"supported": [MODERN], "requested": "2025-11-25"}
            return json_answer(rpc_error(message.get("id"), -32022, "Unsupported protocol version", **data), 400)
        if message.get("method") == "initialize":
            return initialize_answer(raw)
        return json_answer(result(message["id"], tools=[])) if "id" in message else http_response(202)


async def test_E_01_one_endpoint_serves_both_eras_by_how_the_client_opens(server) -> None:
    async with (
        running_proxy(type="mcp", target_url=server.url, client_key=CLIENT_KEY, ruleset=small_ruleset()) as proxy,
        streamable(proxy, "legacy") as old,
        streamable(proxy, MODERN) as new,
    ):
        assert (await old.call_tool("add", {"a": 1, "b": 1})).content[0].text == "2"
        assert (await new.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"
    called = {record.protocol for record in proxy.records if record.operation == "tools/call add"}
    assert called == {"mcp.legacy", "mcp.modern"}


async def test_E_07_initialize_after_a_successful_discover_is_accepted(server) -> None:
    async with running_proxy(
        type="mcp", target_url=server.url, client_key=CLIENT_KEY, ruleset=small_ruleset()
    ) as proxy:
        async with streamable(proxy, "auto") as client:
            await client.list_tools()
        async with streamable(proxy, "legacy") as client:
            assert (await client.list_tools()).tools


async def test_E_05_a_modern_client_of_a_legacy_server_is_told_what_to_do() -> None:
    async with wire(Server("legacy")) as (client, upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 4))
        again = await client.post_modern(request("tools/list", 5))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["data"]["code"]) == (400, -32600, "era_not_spoken")
    assert "bridge" in error["message"]
    assert "bridge" in error["data"]["remediation"]
    assert again.json()["error"]["data"]["code"] == "era_not_spoken"
    assert methods(upstream) == ["tools/list", "server/discover", "tools/list"]


async def test_E_05_a_legacy_server_that_answers_in_json_rpc_is_recognised_as_well() -> None:
    async def old(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return json_answer(rpc_error(rpc(raw)["id"], -32000, "Bad Request: Server not initialized"), 400)

    async with wire(old) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 4))
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (400, "era_not_spoken")


async def test_E_06_no_code_of_the_modern_era_is_made_up_for_a_legacy_server() -> None:
    async with wire(Server("legacy")) as (client, _upstream, proxy):
        answer = await client.post_modern(request("server/discover", 1))
        async with streamable(proxy, "auto") as fallen_back:
            assert fallen_back.protocol_version == "2025-11-25"
    assert answer.json()["error"]["code"] not in range(-32099, -32019)


async def test_E_06_a_modern_only_server_answers_initialize_with_the_versions_that_it_speaks() -> None:
    async with wire(Server("modern")) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", 3, **HELLO))
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["id"], error["code"]) == (400, 3, -32022)
    assert error["data"]["supported"] == [MODERN]
    assert "bridge" in error["data"]["remediation"]


async def test_E_02_a_server_of_the_older_transport_is_recognised_by_its_endpoint_event() -> None:
    async def old(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method == "POST":
            return http_response(405)
        await peer.send(stream_head() + chunked(b"event: endpoint\ndata: /messages?id=1\n\n", last=False))
        await peer.wait_gone()
        return None

    async with wire(old) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", 3, **HELLO))
    error = answer.json()["error"]
    assert error["data"]["code"] == "transport_not_spoken"
    assert "sse" in error["data"]["remediation"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_E_02_credentials_rates_and_faults_are_no_evidence(status: int) -> None:
    async def troubled(_raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return http_response(status)

    async with wire(troubled) as (client, upstream, proxy):
        modern = await client.post_modern(request("tools/list", 1))
        legacy = await client.post(request("initialize", 2, **HELLO))
        assert proxy.runtime.eras is not None
        assert proxy.runtime.eras.verdict == "unknown"
    assert {modern.json()["error"]["data"]["code"], legacy.json()["error"]["data"]["code"]} <= {
        "upstream_error",
        "upstream_rate_limited",
    }
    assert methods(upstream) == ["tools/list", "initialize"]


async def test_E_04_a_server_that_falls_back_raises_an_alert_once() -> None:
    server = Server("modern")
    async with wire(server) as (client, _upstream, proxy):
        before = await client.post_modern(request("tools/list", 1))
        server.era = "legacy"
        after = await client.post_modern(request("tools/list", 2))
        later = await client.post_modern(request("tools/list", 3))
    assert (before.status_code, after.status_code, later.status_code) == (200, 400, 400)
    found = [[finding.rule_id for finding in record.findings] for record in proxy.records]
    assert found == [[], ["MCP-ERA-001"], []]
    assert proxy.records[1].action is Action.ALERT


async def test_E_04_a_bridged_server_that_falls_back_is_met_in_its_era_and_raises_an_alert() -> None:
    server = Server("modern")
    async with wire(server, mcp=MCPSettings(era="bridge")) as (client, _upstream, proxy):
        old = await client.post(request("initialize", 0, **HELLO))
        session = old.headers["mcp-session-id"]
        assert (await client.post(request("tools/list", 1), session=session)).json()["result"]["tools"] == []
        server.era = "legacy"
        failed = await client.post(request("tools/list", 3), session=session)
        async with asyncio.timeout(10):
            # The server is asked again beside the calls; then the session that it cannot have is gone.
            while (await client.post(request("tools/list", 4), session=session)).status_code != 404:
                pass
        again = await client.initialize()
        listed = await client.post(request("tools/list", 5), session=again)
        modern = await client.post_modern(request("tools/list", 2))
    assert "error" in failed.json()
    assert listed.json()["result"]["tools"] == []
    assert modern.json()["result"]["resultType"] == "complete"
    assert [finding.rule_id for record in proxy.records for finding in record.findings] == ["MCP-ERA-001"]


async def test_E_04_a_bridged_server_that_falls_back_serves_a_modern_client_in_the_same_request() -> None:
    server = Server("modern")
    async with wire(server, mcp=MCPSettings(era="bridge")) as (client, _upstream, proxy):
        await client.post_modern(request("tools/list", 1))
        server.era = "legacy"
        answer = await client.post_modern(request("tools/list", 2))
    assert answer.json()["result"]["resultType"] == "complete"
    assert [len(record.findings) for record in proxy.records] == [0, 1]


@pytest.mark.parametrize("era", ["same", "bridge"])
async def test_E_04_a_server_that_falls_back_gets_no_more_calls_where_that_is_refused(era: str) -> None:
    """Until it speaks the modern era again."""
    server = Server("modern")
    settings = MCPSettings(era="bridge" if era == "bridge" else "same", refuse_downgrade=True)
    async with wire(server, mcp=settings) as (client, upstream, proxy):
        before = await client.post_modern(request("tools/list", 1))
        server.era = "legacy"
        noticed = await client.post_modern(request("tools/list", 2))
        asked = len(upstream.requests)
        refused = [
            await client.post_modern(request("tools/list", 3)),
            await client.post(request("initialize", 4, **HELLO)),
        ]
        assert len(upstream.requests) == asked
        server.era = "modern"
        eras = proxy.runtime.eras
        assert eras is not None
        eras._judged_at -= RECHECK_SECONDS + 1
        after = await client.post_modern(request("tools/list", 5))
    assert (before.status_code, after.status_code) == (200, 200)
    for answer in (noticed, *refused):
        assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (502, "downgrade_refused")
    assert "refuse_downgrade" in refused[0].json()["error"]["data"]["remediation"]
    found = [finding.rule_id for record in proxy.records for finding in record.findings]
    assert found == ["MCP-ERA-001"]


async def test_E_04_a_bridged_server_that_was_updated_is_noticed_before_the_verdict_grows_old() -> None:
    server = Server("legacy")
    async with wire(server, mcp=MCPSettings(era="bridge")) as (client, upstream, proxy):
        old = await client.post_modern(request("tools/list", 1))
        server.era = "modern"
        new = await client.post_modern(request("tools/list", 2))
    assert old.json()["result"]["tools"] == new.json()["result"]["tools"] == []
    modern = [rpc(seen)["method"] for seen in upstream.requests if seen.header("mcp-protocol-version") == MODERN]
    assert modern == ["server/discover", "server/discover", "tools/list"]
    assert all(not record.findings for record in proxy.records)


class Asked:
    """An upstream that answers `server/discover` as a test says, and counts."""

    base_path = ""
    problem = ""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def request(self, *_args: Any, **_kwargs: Any) -> Any:
        from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer

        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        return StatusAnswer(status) if body is None else JSONAnswer(status, json.dumps(body).encode())

    def forget(self, session_id: str) -> None: ...

    async def aclose(self) -> None: ...


def detector(server: Asked, now: list[float]) -> EraDetector:
    return EraDetector(ServerLeg(server, max_answer_bytes=10_000), clock=lambda: now[0])


@pytest.mark.parametrize(
    ("status", "body", "era"),
    [
        (200, result(1, **DISCOVERED), "modern"),
        (200, result(1, supportedVersions=["2031-01-01"]), "legacy"),
        (400, rpc_error(1, -32022, supported=[MODERN]), "modern"),
        (400, rpc_error(None, -32022, supported=[MODERN]), "modern"),
        (400, rpc_error(1, -32020), "legacy"),
        (400, rpc_error(1, -32001), "legacy"),
        (200, rpc_error(1, -32601), "legacy"),
        (400, rpc_error("server-error", -32600), "legacy"),
        (404, None, "legacy"),
        (405, None, "legacy"),
        (401, None, "unknown"),
        (403, rpc_error(1, -32022), "unknown"),
        (500, None, "unknown"),
        (504, None, "unknown"),
    ],
)
async def test_E_02_what_an_answer_to_discover_says_about_the_era(status: int, body: Any, era: str) -> None:
    found = await detector(Asked((status, body)), [0.0]).era([], "")
    assert found.era == era


async def test_E_04_the_verdict_is_kept_and_a_legacy_one_grows_old() -> None:
    now = [0.0]
    server = Asked((404, None), (200, result(1, **DISCOVERED)))
    eras = detector(server, now)
    assert [(await eras.era([], "")).era for _ in range(3)] == ["legacy"] * 3
    assert server.asked == 1
    now[0] = LEGACY_SECONDS + 1
    assert eras.verdict == "unknown"
    assert (await eras.era([], "")).era == "modern"
    now[0] *= 100
    assert (await eras.era([], "")).era == "modern"
    assert server.asked == 2
    assert not eras.take_downgrade()


async def test_E_04_a_server_that_cannot_be_reached_keeps_its_verdict() -> None:
    eras = detector(Asked((200, result(1, **DISCOVERED)), UpstreamUnreachable("gone")), [0.0])
    await eras.era([], "")
    with pytest.raises(UpstreamUnreachable):
        await eras.era([], "", fresh=True)
    assert eras.verdict == "modern"
