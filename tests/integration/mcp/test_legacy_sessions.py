"""Sessions of the legacy eras between a plain HTTP client and a scripted upstream (L-01..L-06, L-13)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rules.model import Action
from tests.mcp_legacy_server import Server, methods
from tests.mcp_wire import (
    OTHER_KEY,
    UPSTREAM_SESSION,
    initialize_answer,
    json_answer,
    legacy_headers,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_answer,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, http_response


async def test_L_01_the_session_id_is_ours_and_the_upstream_sees_its_own() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/list"), session=session)
    assert answer.status_code == 200
    assert session != UPSTREAM_SESSION
    assert len(session) >= 22
    assert UPSTREAM_SESSION not in str(answer.headers)
    assert [seen.header("mcp-session-id") for seen in upstream.requests] == [None, UPSTREAM_SESSION]


async def test_L_01_the_session_of_another_principal_does_not_exist() -> None:
    async with wire(Server()) as (client, upstream, proxy):
        session = await client.initialize()
        stolen = await client.post(request("tools/list"), session=session, authorization=f"Bearer {OTHER_KEY}")
        deleted = await client.http.delete(
            "/mcp", headers={"mcp-session-id": session, "authorization": f"Bearer {OTHER_KEY}"}
        )
        own = await client.post(request("tools/list"), session=session)
    assert (stolen.status_code, deleted.status_code, own.status_code) == (404, 404, 200)
    assert methods(upstream) == ["initialize", "tools/list"]
    # Whoever presents it is told nothing; the administrator is told once.
    found = [(one.action, [finding.rule_id for finding in one.findings]) for one in proxy.records]
    assert found == [(Action.ALLOW, []), (Action.ALERT, ["MCP-OWNER-001"]), (Action.ALLOW, []), (Action.ALLOW, [])]
    assert session not in str(proxy.records)


@pytest.mark.parametrize("session", ["unknown", UPSTREAM_SESSION])
async def test_L_03_an_unknown_session_is_a_404(session: str) -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        await client.initialize()
        answer = await client.post(request("tools/list", 9), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (404, 9, -32600)
    assert methods(upstream) == ["initialize"]


async def test_L_03_a_session_that_the_upstream_lost_is_a_404_for_good() -> None:
    async with wire(Server(tools_list=http_response(404, b"gone"))) as (client, upstream, _proxy):
        session = await client.initialize()
        answers = [await client.post(request("tools/list"), session=session) for _ in range(2)]
        again = await client.initialize()
    assert [answer.status_code for answer in answers] == [404, 404]
    assert again != session
    assert methods(upstream) == ["initialize", "tools/list", "initialize"]


async def test_a_request_without_a_session_is_a_400() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        answer = await client.post(request("tools/list"))
    assert answer.status_code == 400
    assert "initialize" in answer.json()["error"]["data"]["remediation"]
    assert upstream.requests == []


async def test_L_02_initialize_over_a_stream_gets_its_session_id_too() -> None:
    async def streamed(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        body = json.loads(initialize_answer(raw).partition(b"\r\n\r\n")[2])
        log = notification("notifications/message", level="info", data="starting")
        return stream_answer(log, body, headers=(f"Mcp-Session-Id: {UPSTREAM_SESSION}",))

    async with wire(Server(initialize=streamed)) as (client, upstream, _proxy):
        session = await client.initialize()
        await client.post(request("ping"), session=session)
    assert upstream.requests[-1].header("mcp-session-id") == UPSTREAM_SESSION


@pytest.mark.parametrize(
    "answer",
    [
        lambda raw: stream_answer(),
        lambda raw: stream_answer(*[notification("notifications/message", data="x")] * 200),
        lambda raw: json_answer(result(99, protocolVersion="2025-11-25")),
        lambda raw: initialize_answer(raw, "2030-01-01"),
        lambda raw: initialize_answer(raw).replace(UPSTREAM_SESSION.encode(), b"x\x80yyyyyyyyyyyyyyyy"),
    ],
    ids=["empty stream", "endless talk", "other id", "unknown version", "bad session id"],
)
async def test_L_05_a_handshake_that_cannot_be_understood_fails(answer: Any) -> None:
    async def initialize(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return answer(raw)

    async with wire(Server(initialize=initialize)) as (client, _upstream, _proxy):
        refused = await client.post(request("initialize", 4, protocolVersion="2025-11-25"))
    assert (refused.status_code, refused.json()["id"], refused.json()["error"]["code"]) == (502, 4, -32012)
    assert "mcp-session-id" not in refused.headers


async def test_an_error_of_initialize_is_passed_on() -> None:
    async with wire(Server(initialize=json_answer(rpc_error(4, -32602, "unsupported")))) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", 4, protocolVersion="2025-11-25"))
    assert (answer.status_code, answer.json()) == (200, rpc_error(4, -32602, "unsupported"))
    assert "mcp-session-id" not in answer.headers


async def test_L_04_the_upstream_leg_speaks_the_version_that_it_negotiated() -> None:
    async with wire(Server("2025-06-18")) as (client, upstream, _proxy):
        session = await client.initialize("2025-11-25")
        absent = await client.post(request("ping"), session=session)
        right = await client.post(request("ping"), session=session, mcp_protocol_version="2025-06-18")
        wrong = await client.post(request("ping"), session=session, mcp_protocol_version="2025-11-25")
        odd = await client.post(request("ping"), session=session, mcp_protocol_version="banana")
    assert [answer.status_code for answer in (absent, right, wrong, odd)] == [200, 200, 400, 400]
    assert [seen.header("mcp-protocol-version") for seen in upstream.requests] == [None, "2025-06-18", "2025-06-18"]


async def test_L_05_and_L_06_the_handshake_is_offered_as_the_gateway_understands_it() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        await client.initialize("2099-01-01", capabilities={"roots": {}, "tasks": {}, "extensions": {"x/y": {}}})
        (seen,) = upstream.requests
    params = rpc(seen)["params"]
    assert params["protocolVersion"] == "2025-11-25"
    assert params["capabilities"] == {"roots": {}, "tasks": {}}


async def test_L_13_a_deleted_session_is_gone_on_both_legs() -> None:
    async with wire(Server(DELETE=http_response(405))) as (client, upstream, _proxy):
        session = await client.initialize()
        deleted = await client.http.delete("/mcp", headers=legacy_headers(session))
        after = await client.post(request("tools/list"), session=session)
    assert (deleted.status_code, after.status_code) == (204, 404)
    assert methods(upstream) == ["initialize", "DELETE"]
    assert upstream.requests[-1].header("mcp-session-id") == UPSTREAM_SESSION


async def test_L_13_a_session_ends_even_where_the_upstream_is_gone() -> None:
    async def hang_up(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.close()
        return None

    async with wire(Server(DELETE=hang_up)) as (client, _upstream, _proxy):
        session = await client.initialize()
        deleted = await client.http.delete("/mcp", headers=legacy_headers(session))
        after = await client.post(request("tools/list"), session=session)
    assert (deleted.status_code, after.status_code) == (204, 404)
