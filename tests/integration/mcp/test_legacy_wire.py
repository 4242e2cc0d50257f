"""The legacy eras between a plain HTTP client and a scripted upstream (L-01..L-13, D-02, D-03, M-13)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxies.contract import Limits
from proxies.mcp.drain import DRAINS
from rules.model import Action, Target
from tests.mcp_rules import ALERTED, BLOCKED, RESPONSE_BLOCKED
from tests.mcp_wire import (
    CLIENT_KEY,
    OTHER_KEY,
    UPSTREAM_SESSION,
    MCPClient,
    event,
    initialize_answer,
    json_answer,
    legacy_headers,
    messages_of,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_answer,
    stream_head,
    text_result,
    wire,
)
from tests.rawpeer import RawClient, RawMessage, UpstreamPeer, chunked, http_request, http_response


class Server:
    """A scripted server with a session; `answers` replaces its answer to one JSON-RPC method or HTTP method."""

    def __init__(self, version: str = "2025-11-25", **answers: Any) -> None:
        self.version = version
        self.answers = answers

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            answer = self.answers.get(raw.method, http_response(405))
        else:
            message = rpc(raw)
            if type(message) is list:
                answer = self.answers["batch"]
            elif message.get("method") == "initialize":
                answer = self.answers.get("initialize", initialize_answer(raw, self.version))
            elif "id" not in message or "method" not in message:
                answer = self.answers.get("accept", http_response(202))
            else:
                name = message["method"].replace("/", "_")
                answer = self.answers.get(name, json_answer(text_result(message["id"], "ok")))
        return await answer(raw, peer) if callable(answer) else answer


def methods(upstream: Any) -> list[str]:
    return [json.loads(seen.body).get("method", "response") if seen.body else seen.method for seen in upstream.requests]


# --- Sessions ---------------------------------------------------------------------------------------------------------


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
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        stolen = await client.post(request("tools/list"), session=session, authorization=f"Bearer {OTHER_KEY}")
        deleted = await client.http.delete(
            "/mcp", headers={"mcp-session-id": session, "authorization": f"Bearer {OTHER_KEY}"}
        )
        own = await client.post(request("tools/list"), session=session)
    assert (stolen.status_code, deleted.status_code, own.status_code) == (404, 404, 200)
    assert methods(upstream) == ["initialize", "tools/list"]


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
    assert params["capabilities"] == {"roots": {}}


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


# --- Requests and policy ----------------------------------------------------------------------------------------------


async def test_I_30_an_unknown_method_is_an_error_on_200_and_never_forwarded() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tasks/list", 5), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 5, -32601)
    assert methods(upstream) == ["initialize"]


@pytest.mark.parametrize(
    "call",
    [
        request("tools/call", name=7),
        request("tools/call"),
        request("tools/call", name="t", arguments=[]),
        request("resources/read", uri=None),
        request("logging/setLevel"),
    ],
)
async def test_malformed_parameters_are_an_error_and_never_forwarded(call: dict[str, Any]) -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(call, session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32602)
    assert methods(upstream) == ["initialize"]


async def test_D_01_a_block_is_an_error_on_200_and_the_upstream_never_sees_the_call() -> None:
    async with wire(Server()) as (client, upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 5, name="run", arguments={"x": [BLOCKED]}), session=session)
        record = proxy.records[-1]
    assert answer.status_code == 200
    assert answer.json() == rpc_error(5, -32010, "Blocked by gateway policy", ref=record.id)
    assert (record.operation, record.outcome, record.action) == ("tools/call run", "blocked", Action.BLOCK)
    assert record.findings[0].path == "/params/arguments/x/0"
    assert methods(upstream) == ["initialize"]


async def test_I_24_trace_headers_go_with_requests_only_and_inspected() -> None:
    async with wire(Server(GET=stream_answer())) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("ping"), session=session, baggage=f"k={BLOCKED}")
        await client.post(request("ping"), session=session, baggage="k=v")
        await client.post(notification("notifications/cancelled"), session=session, baggage=f"k={BLOCKED}")
        await client.http.get("/mcp", headers=legacy_headers(session, baggage=f"k={BLOCKED}"))
    assert answer.json()["error"]["code"] == -32010
    assert methods(upstream) == ["initialize", "ping", "notifications/cancelled", "GET"]
    assert [seen.header("baggage") for seen in upstream.requests] == [None, "k=v", None, None]


async def test_D_03_a_denied_notification_is_accepted_dropped_and_recorded() -> None:
    async with wire(Server()) as (client, upstream, proxy):
        session = await client.initialize()
        denied = await client.post(notification("notifications/cancelled", reason=BLOCKED), session=session)
        unknown = await client.post(notification("notifications/made_up"), session=session)
        passed = await client.post(notification("notifications/cancelled", requestId=1), session=session)
    assert [answer.status_code for answer in (denied, unknown, passed)] == [202, 202, 202]
    assert denied.content == b""
    assert methods(upstream) == ["initialize", "notifications/cancelled"]
    assert [record.outcome for record in proxy.records] == ["allowed", "blocked", "refused", "allowed"]


async def test_I_11_errors_of_the_upstream_are_inspected() -> None:
    async with wire(Server(ping=json_answer(rpc_error(1, -32000, "oops", deep=[RESPONSE_BLOCKED])))) as (client, *_):
        session = await client.initialize()
        answer = await client.post(request("ping"), session=session)
    assert answer.json()["error"]["message"] == "Blocked by gateway policy"


async def test_findings_of_request_and_answer_are_both_in_the_record() -> None:
    async with wire(Server(tools_call=json_answer(text_result(1, ALERTED)))) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t", arguments={"x": ALERTED}), session=session)
    assert answer.json() == text_result(1, ALERTED)
    assert [finding.target for finding in proxy.records[-1].findings] == [Target.TOOL_ARGS, Target.TOOL_RESULT]
    assert (proxy.records[-1].outcome, proxy.records[-1].action) == ("allowed", Action.ALERT)


# --- Streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_is_parsed_and_written_anew() -> None:
    progress = notification("notifications/progress", progressToken=1, progress=1)
    raw = (
        b"\xef\xbb\xbf: a comment\r\nevent: message\r\n"
        + b'data: {"jsonrpc": "2.0",\r\ndata:  "method": "notifications/progress",\r\n'
        + b'data: "params": {"progressToken": 1, "progress": 1}}\r\n\r\n'
        + b"event: other\rdata: {}\r\r"
        + event(text_result(1, "ok"))
    )
    pieces = [raw[index : index + 7] for index in range(0, len(raw), 7)]
    async with wire(Server(tools_call=stream_head() + chunked(*pieces))) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert messages_of(answer.text) == [progress, text_result(1, "ok")]
    assert proxy.bytes_sent_at_record[-1] < len(answer.content) - 10, "the record must come before the last message"
    assert "comment" not in answer.text
    assert "other" not in answer.text
    assert proxy.records[-1].streamed


@pytest.mark.parametrize(
    "poisoned",
    [text_result(1, RESPONSE_BLOCKED), notification("notifications/message", level="info", data=RESPONSE_BLOCKED)],
    ids=["result", "notification"],
)
async def test_D_02_a_block_in_a_stream_is_its_last_message(poisoned: dict[str, Any]) -> None:
    fine = notification("notifications/progress", progressToken=1, progress=1)
    stream = stream_answer(fine, poisoned, text_result(1, "too late"))
    async with wire(Server(tools_call=stream)) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
        record = proxy.records[-1]
    assert messages_of(answer.text) == [fine, rpc_error(1, -32010, "Blocked by gateway policy", ref=record.id)]
    assert (record.outcome, record.status) == ("blocked", 200)


@pytest.mark.parametrize(
    "cut",
    [
        stream_head() + chunked(event(notification("notifications/progress", progressToken=1, progress=1))),
        stream_head() + chunked(event(notification("notifications/progress", progressToken=1, progress=1)), last=False),
        stream_head() + chunked(event(result(1))[:-20]),
        stream_head() + chunked(b"data: not json\n\n"),
        stream_head() + chunked(b'data: {"jsonrpc":"2.0"}\n\n'),
        stream_head() + b"zz\r\n",
    ],
    ids=["no response", "truncated", "cut event", "no JSON", "no message", "bad chunk"],
)
async def test_M_13_a_broken_stream_never_looks_like_an_answer(cut: bytes) -> None:
    async def breaking(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(cut)
        await peer.close()
        return None

    async with wire(Server(tools_call=breaking)) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", "c-7", name="t"), session=session)
    last = messages_of(answer.text)[-1]
    assert (last["id"], last["error"]["code"]) == ("c-7", -32012)
    assert (proxy.records[-1].outcome, proxy.records[-1].truncated) == ("upstream_error", True)


async def test_an_event_beyond_the_bound_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstream.MAX_EVENT_BYTES", 1000)
    async with wire(Server(tools_call=stream_answer(text_result(1, "x" * 2000)))) as (client, *_):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    (message,) = messages_of(answer.text)
    assert message["error"]["code"] == -32012


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


# --- Server requests --------------------------------------------------------------------------------------------------


def asking(*questions: dict[str, Any]) -> Any:
    """A tool that asks the client and answers as soon as every question has an answer."""
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head())
        for question in questions:
            await peer.send(chunked(event(question), last=False))
        given = [await answers.get() for _ in questions]
        await peer.send(chunked(event(text_result(rpc(raw)["id"], json.dumps(given)))))
        return None

    async def accept(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        answers.put_nowait(rpc(raw))
        return http_response(202)

    return {"tools_call": call, "accept": accept}


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


async def next_message(lines: Any) -> Any:
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith("data: {"):
                return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


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


# --- The GET stream and resumption ------------------------------------------------------------------------------------


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
    async with wire(Server(GET=http_response(status))) as (client, *_):
        session = await client.initialize()
        answer = await client.http.get("/mcp", headers=legacy_headers(session))
    assert answer.status_code == {405: 405, 404: 404, 500: 502}[status]


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


# --- Batches ----------------------------------------------------------------------------------------------------------


def batch(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return list(messages)


MIXED = batch(
    request("tools/call", 1, name="a"),
    request("tools/call", 2, name="b", arguments={"x": BLOCKED}),
    request("unknown/method", 3),
    notification("notifications/cancelled", requestId=9),
    notification("notifications/made_up"),
    result("nobody asked"),
)


@pytest.mark.parametrize("streamed", [False, True])
async def test_L_07_elements_of_a_batch_are_judged_one_by_one(streamed: bool) -> None:
    answer = stream_answer([text_result(1, "ok")]) if streamed else json_answer([text_result(1, "ok")])
    async with wire(Server("2025-03-26", batch=answer)) as (client, upstream, proxy):
        session = await client.initialize("2025-03-26")
        given = await client.post(MIXED, session=session)
    messages = messages_of(given.text) if streamed else given.json()
    by_id = {message["id"]: message for message in messages}
    assert by_id[1] == text_result(1, "ok")
    assert by_id[2]["error"]["code"] == -32010
    assert by_id[3]["error"]["code"] == -32601
    assert len(messages) == 3
    assert [one["method"] for one in rpc(upstream.requests[-1])] == ["tools/call", "notifications/cancelled"]
    assert proxy.records[-1].operation == "batch of 6"
    assert proxy.records[-1].findings[0].target is Target.TOOL_ARGS


async def test_L_07_a_batch_without_requests_is_accepted() -> None:
    async with wire(Server("2025-03-26", batch=http_response(202))) as (client, upstream, _proxy):
        session = await client.initialize("2025-03-26")
        passed = await client.post(batch(notification("notifications/cancelled", requestId=1)), session=session)
        dropped = await client.post(batch(notification("notifications/odd")), session=session)
    assert (passed.status_code, dropped.status_code) == (202, 202)
    assert len(upstream.requests) == 2


async def test_L_07_a_batch_that_is_denied_whole_never_leaves() -> None:
    async with wire(Server("2025-03-26")) as (client, upstream, proxy):
        session = await client.initialize("2025-03-26")
        answer = await client.post(batch(request("tools/call", 5, name="t", arguments={"x": BLOCKED})), session=session)
    assert [message["error"]["code"] for message in answer.json()] == [-32010]
    assert methods(upstream) == ["initialize"]
    assert proxy.records[-1].outcome == "blocked"


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("2025-06-18", batch(request("ping"))),
        ("2025-03-26", []),
        ("2025-03-26", batch(request("initialize"))),
        ("2025-03-26", batch(request("ping"), request("ping"))),
    ],
)
async def test_L_07_batches_of_other_versions_or_shapes_are_refused(version: str, body: Any) -> None:
    async with wire(Server(version)) as (client, upstream, _proxy):
        session = await client.initialize(version)
        answer = await client.post(body, session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)
    assert methods(upstream) == ["initialize"]
