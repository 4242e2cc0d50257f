"""Legacy streams: clients that leave, questions of the server, resumption (L-08..L-12, D-03, G-11)."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import Any

import pytest

from proxies.contract import Limits
from proxies.mcp.drain import DRAINS
from rules.model import Target
from tests.mcp_legacy_server import Server, asking, methods, next_message
from tests.mcp_rules import BLOCKED, RESPONSE_BLOCKED
from tests.mcp_wire import (
    CLIENT_KEY,
    UPSTREAM_SESSION,
    MCPClient,
    event,
    json_answer,
    legacy_headers,
    messages_of,
    notification,
    request,
    result,
    rpc,
    stream_answer,
    stream_head,
    text_result,
    wire,
)
from tests.rawpeer import RawClient, RawMessage, UpstreamPeer, chunked, http_request, http_response

ROUNDING_MS = 0.01


async def test_L_11_a_client_that_leaves_has_not_cancelled_anything() -> None:
    gone = asyncio.Event()
    answered = asyncio.Event()

    async def patient(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1)), last=False))
        await gone.wait()
        await peer.send(chunked(event(text_result(1, "finished"))))
        answered.set()
        return None

    async with wire(Server(tools_call=patient)) as (client, upstream, proxy):
        session = await client.initialize()
        await leave_after_first_event(client, proxy.url, request("tools/call", name="t"), session)
        (record,) = [one for one in await proxy.wait_for_records(2) if one.operation == "tools/call t"]
        gone.set()
        await asyncio.wait_for(answered.wait(), 10)
        await DRAINS.settle()
        # The connection was read to its end and serves the next request: nothing was reset.
        assert (await client.post(request("ping"), session=session)).status_code == 200
        assert len(upstream.connections) == 1
    assert record.outcome == "client_closed"


async def test_L_11_a_client_that_leaves_before_the_head_has_not_cancelled_either() -> None:
    gone = asyncio.Event()

    async def patient(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        await gone.wait()
        return json_answer(text_result(rpc(raw)["id"], "finished"))

    async with wire(Server(tools_call=patient)) as (client, upstream, proxy):
        session = await client.initialize()
        port = int(proxy.url.rpartition(":")[2])
        async with await RawClient.connect("127.0.0.1", port) as raw:
            await raw.send(raw_post(proxy.url, request("tools/call", name="t"), session))
            await upstream.wait_for_requests(2)
        await proxy.wait_for_records(2)
        gone.set()
        await DRAINS.settle()
        assert (await client.post(request("ping"), session=session)).status_code == 200
        assert len(upstream.connections) == 1


async def test_the_time_that_a_client_waited_before_it_left_is_not_the_gateways_own() -> None:
    gone = asyncio.Event()

    async def patient(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        await gone.wait()
        return json_answer(text_result(rpc(raw)["id"], "finished"))

    async with wire(Server(tools_call=patient)) as (client, upstream, proxy):
        session = await client.initialize()
        async with await RawClient.connect("127.0.0.1", int(proxy.url.rpartition(":")[2])) as raw:
            await raw.send(raw_post(proxy.url, request("tools/call", name="t"), session))
            await upstream.wait_for_requests(2)
        (record,) = [one for one in await proxy.wait_for_records(2) if one.operation == "tools/call t"]
        gone.set()
        await DRAINS.settle()
    assert record.outcome == "client_closed"
    assert record.duration_ms - record.added_ms >= record.timings_ms["upstream"] - ROUNDING_MS


async def test_the_time_for_which_a_stream_was_quiet_before_its_session_ended_is_not_the_gateways_own() -> None:
    listening = asyncio.Event()

    async def listen(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/tools/list_changed")), last=False))
        await listening.wait()
        return None

    async with wire(Server(GET=listen)) as (client, _upstream, proxy):
        session = await client.initialize()
        async with client.http.stream("GET", "/mcp", headers=legacy_headers(session)) as stream:
            await next_message(stream.aiter_lines())
            await client.post(request("ping", 1), session=session)
            quiet_since = perf_counter()
            await client.post(request("ping", 2), session=session)
            quiet_ms = (perf_counter() - quiet_since) * 1000
            await client.http.delete("/mcp", headers=legacy_headers(session))
        listening.set()
        (record,) = [one for one in await proxy.wait_for_records(5) if one.operation == "stream"]
    assert record.outcome == "allowed"
    # A call took place meanwhile.
    assert record.duration_ms - record.added_ms >= record.timings_ms["upstream"] - ROUNDING_MS >= quiet_ms - ROUNDING_MS


async def leave_after_first_event(_client: MCPClient, url: str, body: Any, session: str) -> None:
    async with await RawClient.connect("127.0.0.1", int(url.rpartition(":")[2])) as raw:
        await raw.send(raw_post(url, body, session))
        await raw.read_until(b"data: ")


def raw_post(url: str, body: Any, session: str) -> bytes:
    fields = {**legacy_headers(session), "authorization": f"Bearer {CLIENT_KEY}"}
    return http_request(
        "/mcp",
        method="POST",
        headers=tuple(f"{name}: {value}" for name, value in fields.items()),
        body=json.dumps(body).encode(),
        host=url.removeprefix("http://"),
    )


async def test_L_12_a_question_and_its_answer_cross_once() -> None:
    question = request("elicitation/create", "q-1", message="which?", requestedSchema={"type": "object"})
    async with wire(Server(**asking(question))) as (client, upstream, proxy):
        session = await client.initialize(capabilities={"elicitation": {}})
        headers = legacy_headers(session)
        body = json.dumps(request("tools/call", name="t"))
        async with client.http.stream("POST", "/mcp", content=body, headers=headers) as stream:
            lines = stream.aiter_lines()
            seen = await next_message(lines)
            wrong = await client.post(result("q-2", action="accept"), session=session)
            right = await client.post(result("q-1", action="accept", content={"a": "b"}), session=session)
            twice = await client.post(result("q-1", action="accept"), session=session)
            final = await next_message(lines)
    assert seen == question
    assert [answer.status_code for answer in (wrong, right, twice)] == [202, 202, 202]
    assert json.loads(final["result"]["content"][0]["text"]) == [result("q-1", action="accept", content={"a": "b"})]
    assert methods(upstream).count("response") == 1
    assert [record.error_code for record in proxy.records].count("unexpected_response") == 2


async def test_D_03_questions_that_must_not_pass_are_answered_for_the_client() -> None:
    questions = (
        request("elicitation/create", 1, message=f"say {RESPONSE_BLOCKED}"),
        request("sampling/createMessage", 2, messages=[]),
        request("unknown/thing", 3),
    )
    async with wire(Server(**asking(*questions))) as (client, _upstream, proxy):
        session = await client.initialize(capabilities={"elicitation": {}})
        answer = await client.post(request("tools/call", 7, name="t"), session=session)
    (message,) = messages_of(answer.text)
    declined, undeclared, unknown = json.loads(message["result"]["content"][0]["text"])
    assert declined == result(1, action="decline")
    assert (undeclared["id"], undeclared["error"]["code"]) == (2, -32601)
    assert (unknown["id"], unknown["error"]["code"]) == (3, -32601)
    assert proxy.records[-1].findings[0].target is Target.ELICITATION


async def test_D_03_an_answer_of_the_client_that_must_not_pass_is_declined_for_it() -> None:
    question = request("elicitation/create", "q-1", message="which?")
    async with wire(Server(**asking(question))) as (client, _upstream, _proxy):
        session = await client.initialize(capabilities={"elicitation": {}})
        body = json.dumps(request("tools/call", name="t"))
        async with client.http.stream("POST", "/mcp", content=body, headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            await next_message(lines)
            denied = await client.post(result("q-1", action="accept", content={"a": BLOCKED}), session=session)
            final = await next_message(lines)
    assert denied.status_code == 202
    assert json.loads(final["result"]["content"][0]["text"]) == [result("q-1", action="decline")]


async def test_L_08_server_messages_reach_the_client_on_its_stream() -> None:
    changed = notification("notifications/tools/list_changed")
    poisoned = notification("notifications/message", level="info", data=RESPONSE_BLOCKED)
    stream = stream_answer(changed, poisoned, text_result(1, "not asked for"), notification("notifications/odd"))
    async with wire(Server(GET=stream)) as (client, upstream, proxy):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session))
    assert answer.status_code == 200
    assert messages_of(answer.text) == [changed]
    assert upstream.requests[-1].header("mcp-session-id") == UPSTREAM_SESSION
    poisoned_record, stream_record = proxy.records[-2:]
    assert (poisoned_record.operation, poisoned_record.outcome) == ("notifications/message", "blocked")
    assert poisoned_record.id != stream_record.id
    assert (stream_record.operation, stream_record.method, stream_record.findings) == ("stream", "GET", ())
    assert stream_record.reason == "Dropped 3 messages of the upstream that may not pass."


async def test_a_drain_does_not_wait_for_a_stream_without_end() -> None:
    async def open_stream(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/tools/list_changed")), last=False))
        await peer.wait_gone()
        return None

    async with wire(Server(GET=open_stream)) as (client, _upstream, proxy):
        session = await client.initialize()
        async with client.http.stream("GET", "/mcp", headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            await next_message(lines)
            await proxy.listener.drain(1000)
            assert [line async for line in lines if line] == []
    assert (proxy.records[-1].operation, proxy.records[-1].outcome) == ("stream", "allowed")


async def test_L_13_the_end_of_a_session_ends_its_streams() -> None:
    async def open_stream(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/tools/list_changed")), last=False))
        await peer.wait_gone()
        return None

    async with wire(Server(GET=open_stream)) as (client, _upstream, proxy):
        session = await client.initialize()
        async with client.http.stream("GET", "/mcp", headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            await next_message(lines)
            assert (await client.http.delete("/mcp", headers=legacy_headers(session))).status_code == 204
            assert [line async for line in lines if line] == []
        again = await client.http.get("/mcp", headers=legacy_headers(session))
    assert again.status_code == 404
    assert {(record.operation, record.outcome) for record in proxy.records[1:3]} == {
        ("stream", "allowed"),
        ("session end", "allowed"),
    }


@pytest.mark.parametrize("status", [405, 404, 500])
async def test_L_08_a_stream_that_the_upstream_does_not_have(status: int) -> None:
    async with wire(Server(GET=http_response(status))) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session))
        outcome = proxy.records[-1].outcome
        after = await client.post(request("ping", 2), session=session)
    # Only a POST is answered with 404 because the session is gone: some servers have no route for GET.
    assert answer.status_code == {405: 405, 404: 405, 500: 502}[status]
    assert answer.headers.get("allow") == (None if status == 500 else "DELETE, POST")
    assert outcome == {405: "allowed", 404: "allowed", 500: "upstream_error"}[status]
    assert after.status_code == 200


async def test_a_stream_answer_that_is_none_is_a_502() -> None:
    async with wire(Server(GET=json_answer({}))) as (client, *_):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session))
    assert answer.status_code == 502


async def test_a_stream_needs_a_session_and_the_right_accept() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        without = await client.http.get("/mcp", headers=legacy_headers())
        wrong = await client.http.get("/mcp", headers=legacy_headers(session, accept="application/json"))
        unknown = await client.http.get("/mcp", headers=legacy_headers("unknown"))
        delete = await client.http.delete("/mcp")
    assert (without.status_code, without.headers["allow"]) == (405, "POST")
    assert (wrong.status_code, unknown.status_code, delete.status_code) == (406, 404, 405)
    assert methods(upstream) == ["initialize"]


async def test_G_11_a_silent_stream_ends_so_that_the_client_can_open_the_next() -> None:
    async def silent(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head())
        await peer.wait_gone()
        return None

    async with wire(Server(GET=silent), limits=Limits(idle_timeout_seconds=0.1)) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session))
    assert (answer.status_code, answer.text) == (200, "")
    assert proxy.records[-1].outcome == "allowed"


async def test_L_09_and_L_10_a_stream_is_resumed_with_our_id_for_the_upstreams() -> None:
    priming = b"id: up-1\nretry: 50\ndata:\n\n"
    replay = stream_head() + chunked(event(text_result(1, "at last"), id="up-2"), event(text_result(2, "foreign")))
    async with wire(Server(tools_call=stream_head() + chunked(priming), GET=replay)) as (client, upstream, proxy):
        session = await client.initialize()
        first = await client.post(request("tools/call", name="t"), session=session)
        lines = dict(line.split(": ", 1) for line in first.text.splitlines() if ": " in line)
        resumed = await client.http.get("/mcp", headers=legacy_headers(session, last_event_id=lines["id"]))
        again = await client.http.get("/mcp", headers=legacy_headers(session, last_event_id=lines["id"]))
    assert lines["retry"] == "50"
    assert "up-1" not in first.text
    assert proxy.records[1].outcome == "allowed"
    assert messages_of(resumed.text) == [text_result(1, "at last")]
    assert upstream.requests[-1].header("last-event-id") == "up-1"
    assert messages_of(again.text) == []


async def test_I_14_a_replayed_event_is_inspected_again() -> None:
    priming = b"id: up-1\ndata:\n\n"
    replay = stream_head() + chunked(event(text_result(1, RESPONSE_BLOCKED), id="up-2"))
    async with wire(Server(tools_call=stream_head() + chunked(priming), GET=replay)) as (client, _upstream, proxy):
        session = await client.initialize()
        first = await client.post(request("tools/call", name="t"), session=session)
        lines = dict(line.split(": ", 1) for line in first.text.splitlines() if ": " in line)
        resumed = await client.http.get("/mcp", headers=legacy_headers(session, last_event_id=lines["id"]))
    (message,) = messages_of(resumed.text)
    assert message["error"]["message"] == "Blocked by gateway policy"
    assert RESPONSE_BLOCKED not in resumed.text
    assert [record.outcome for record in proxy.records[-2:]] == ["blocked", "allowed"]


async def test_L_10_older_clients_get_no_priming_event() -> None:
    stream = stream_head() + chunked(b"id: up-1\ndata:\n\n", event(text_result(1, "ok"), id="up-2"))
    async with wire(Server("2025-06-18", tools_call=stream)) as (client, *_):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    assert answer.text.count("data:") == 1
    assert messages_of(answer.text) == [text_result(1, "ok")]


@pytest.mark.parametrize("presented", ["up-1", "AAAA", "dXAtMQ=="])
async def test_L_09_an_event_id_that_was_not_issued_opens_nothing(presented: str) -> None:
    async with wire(Server(GET=stream_answer())) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session, last_event_id=presented))
    assert answer.status_code == 400
    assert methods(upstream) == ["initialize"]


async def test_L_14_a_page_that_is_not_https_is_declined_and_one_that_is_names_its_host_in_the_record() -> None:
    def question(id: str, url: str) -> dict[str, Any]:
        return request("elicitation/create", id, mode="url", message="Sign in", url=url, elicitationId=id)

    plain, secure = question("s1", "http://bank.example/"), question("s2", "https://bank.example/login")
    server = Server(**asking(plain, secure))
    async with wire(server) as (client, _upstream, proxy):
        session = await client.initialize(capabilities={"elicitation": {"url": {}}})
        headers = legacy_headers(session)
        body = json.dumps(request("tools/call", 1, name="t")).encode()
        async with client.http.stream("POST", "/mcp", content=body, headers=headers) as stream:
            lines = stream.aiter_lines()
            asked = await next_message(lines)
            await client.post(result("s2", action="accept"), session=session)
            answered = await next_message(lines)
    assert asked["params"]["url"] == "https://bank.example/login"
    given = json.loads(answered["result"]["content"][0]["text"])
    assert {one["id"]: one["result"]["action"] for one in given} == {"s1": "decline", "s2": "accept"}
    assert proxy.records[-1].reason == "The server asked the user to open a page of bank.example."


async def test_L_14_an_error_that_sends_the_user_to_a_page_is_held_to_the_same_rule() -> None:
    def required(url: str) -> dict[str, Any]:
        elicitations = [{"mode": "url", "elicitationId": "e", "url": url, "message": "Sign in"}]
        return {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32042, "message": "Sign in first", "data": {"elicitations": elicitations}},
        }

    for url, code in (("https://bank.example/", -32042), ("http://bank.example/", -32010)):
        async with wire(Server(tools_call=json_answer(required(url)))) as (client, _upstream, proxy):
            session = await client.initialize(capabilities={"elicitation": {"url": {}}})
            answer = await client.post(request("tools/call", 1, name="t"), session=session)
        assert answer.json()["error"]["code"] == code
        assert "bank.example" in proxy.records[-1].reason
