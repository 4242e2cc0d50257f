"""What a legacy server asks a modern client across the bridge: several questions at once, and those outside a call (E-05)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxies.mcp.bridge.session_reader import SessionReader
from tests.mcp_legacy_server import Server as LegacyServer
from tests.mcp_legacy_server import asking, legacy_only, next_message
from tests.mcp_modern_server import BRIDGE, QUESTION, ModernServer
from tests.mcp_wire import (
    META,
    event,
    json_answer,
    legacy_headers,
    messages_of,
    modern,
    notification,
    request,
    result,
    rpc,
    stream_head,
    text_result,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response

ASKABLE = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}}}
CALL = {"name": "greet", "arguments": {}}


async def test_E_05_questions_at_once_are_asked_at_once() -> None:
    """Each gets its own answer, whatever the order in which the client gives them."""
    questions = [
        request("elicitation/create", "q1", **QUESTION),
        request("roots/list", "q2"),
        request("elicitation/create", "q3", **QUESTION),
    ]
    server = LegacyServer(**asking(*questions))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        first = (await client.post_modern(request("tools/call", 7, **CALL, _meta=ASKABLE))).json()["result"]
        asked = first["inputRequests"]
        replies: list[Any] = [{"action": "accept", "content": {"n": 1}}, {"roots": []}, {"action": "cancel"}]
        given = dict(reversed(list(zip(asked, replies, strict=True))))
        retry = {**CALL, "inputResponses": given, "requestState": first["requestState"], "_meta": ASKABLE}
        answer = (await client.post_modern(request("tools/call", 8, **retry))).json()
    assert [one["method"] for one in asked.values()] == ["elicitation/create", "roots/list", "elicitation/create"]
    said = {one["id"]: one["result"] for one in json.loads(answer["result"]["content"][0]["text"])}
    assert said == dict(zip(("q1", "q2", "q3"), replies, strict=True))


async def test_E_05_a_server_that_stops_waiting_is_answered_at_the_retry() -> None:
    """Its question has timed out there: the result that it gave instead is what the retry gets."""

    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        await peer.send(chunked(event(request("elicitation/create", "q1", **QUESTION)), last=False))
        await asked.wait()
        await peer.send(chunked(event(text_result(rpc(raw)["id"], "without you"))))
        answered.set()

    asked, answered = asyncio.Event(), asyncio.Event()
    async with wire(legacy_only(LegacyServer(tools_call=call)), mcp=BRIDGE) as (client, *_):
        first = (await client.post_modern(request("tools/call", 7, **CALL))).json()["result"]
        asked.set()
        await answered.wait()
        retry = {**CALL, "inputResponses": {}, "requestState": first["requestState"]}
        answer = (await client.post_modern(request("tools/call", 8, **retry))).json()
    assert (answer["id"], answer["result"]["content"][0]["text"]) == (8, "without you")


async def test_E_05_progress_after_a_retry_has_the_token_of_the_retry() -> None:
    replies: asyncio.Queue[Any] = asyncio.Queue()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        token = rpc(raw)["params"]["_meta"]["progressToken"]
        await peer.send(stream_head())
        await peer.send(chunked(event(request("elicitation/create", "q1", **QUESTION)), last=False))
        await replies.get()
        await peer.send(chunked(event(notification("notifications/progress", progressToken=token, progress=1))))
        await peer.send(chunked(event(text_result(rpc(raw)["id"], "done"))))

    async def accept(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        replies.put_nowait(rpc(raw))
        return http_response(202)

    async with wire(legacy_only(LegacyServer(tools_call=call, accept=accept)), mcp=BRIDGE) as (client, *_):
        meta = {**META, "progressToken": "first"}
        first = (await client.post_modern(request("tools/call", 7, **CALL, _meta=meta))).json()["result"]
        retry = {**CALL, "inputResponses": {}, "requestState": first["requestState"]}
        meta = {**META, "progressToken": "second"}
        answer = await client.post_modern(request("tools/call", 8, **retry, _meta=meta))
    told = [one["params"]["progressToken"] for one in messages_of(answer.text) if "method" in one]
    assert told in ([], ["second"])


class Outside:
    """A legacy server that asks on the session's own stream, as some SDKs do, while it works on `calls` calls."""

    def __init__(self, question: dict[str, Any], calls: int = 1) -> None:
        self.question = question
        self.wanted = calls
        self.begun = 0
        self.all_begun = asyncio.Event()
        self.streams: list[UpstreamPeer] = []
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def server(self) -> LegacyServer:
        return LegacyServer(GET=self.stream, tools_call=self.call, accept=self.accept)

    async def stream(self, _raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        self.streams.append(peer)
        await peer.wait_gone()

    async def call(self, raw: RawMessage, peer: UpstreamPeer) -> None:
        self.begun += 1
        if self.begun == self.wanted:
            await self.streams[-1].send(chunked(event(self.question), last=False))
            self.all_begun.set()
        await self.all_begun.wait()
        await peer.send(stream_head())
        said = await asyncio.shield(self.reply)
        await peer.send(chunked(event(text_result(rpc(raw)["id"], json.dumps(said)))))

    async def accept(self, raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        if not self.reply.done():
            self.reply.set_result(rpc(raw))
        return http_response(202)


async def test_E_05_a_question_on_the_session_stream_is_asked_in_the_call_that_is_open() -> None:
    outside = Outside(request("elicitation/create", "q1", **QUESTION))
    async with wire(legacy_only(outside.server()), mcp=BRIDGE) as (client, *_):
        first = (await client.post_modern(request("tools/call", 7, **CALL))).json()["result"]
        given = {key: {"action": "accept", "content": {}} for key in first["inputRequests"]}
        retry = {**CALL, "inputResponses": given, "requestState": first["requestState"]}
        answer = (await client.post_modern(request("tools/call", 8, **retry))).json()
    said = json.loads(answer["result"]["content"][0]["text"])
    assert said == {"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {}}}
    assert len(outside.streams) == 1


async def test_E_05_a_stream_that_does_not_begin_delays_one_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.bridge.listeners.HEAR_SECONDS", 0.05)
    waits: list[float] = []
    waited = SessionReader.open

    async def noted(self: SessionReader, seconds: float) -> None:
        waits.append(seconds if not self._settled.is_set() else 0.0)
        await waited(self, seconds)

    async def silent(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.wait_gone()

    monkeypatch.setattr(SessionReader, "open", noted)
    async with wire(legacy_only(LegacyServer(GET=silent)), mcp=BRIDGE) as (client, *_):
        answers = [await client.post_modern(request("tools/call", id, **CALL)) for id in (7, 8, 9)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert waits == [0.05, 0.0, 0.0]


async def test_E_05_a_question_that_could_be_about_two_calls_is_refused_with_the_reason() -> None:
    outside = Outside(request("elicitation/create", "q1", **QUESTION), calls=2)
    async with wire(legacy_only(outside.server()), mcp=BRIDGE) as (client, *_):
        await client.post_modern(request("tools/list", 1))
        answers = await asyncio.gather(
            *(client.post_modern(request("tools/call", id, **CALL)) for id in (7, 8)),
        )
    for answer in answers:
        (message,) = [one for one in messages_of(answer.text) or [answer.json()] if "result" in one]
        said = json.loads(message["result"]["content"][0]["text"])
        assert said["error"]["code"] == -32601
        assert "inside a call" in said["error"]["message"]


async def test_E_05_a_page_for_the_user_is_asked_for_only_of_a_client_that_shows_pages() -> None:
    question = request(
        "elicitation/create", "q1", mode="url", url="https://a.example/", message="Go", elicitationId="e"
    )
    async with wire(legacy_only(LegacyServer(**asking(question))), mcp=BRIDGE) as (client, *_):
        answer = (await client.post_modern(request("tools/call", 7, **CALL))).json()
    (said,) = json.loads(answer["result"]["content"][0]["text"])
    assert said["error"]["code"] == -32601


async def test_E_05_questions_of_a_call_that_is_over_are_taken_back() -> None:
    """A modern server wants two things; what the client refuses ends the call, and its other answer goes nowhere."""
    asked = {
        "who": {"method": "roots/list"},
        "what": {"method": "elicitation/create", "params": QUESTION},
    }
    first = {"resultType": "input_required", "inputRequests": asked, "requestState": "s1"}
    server = ModernServer(tools_call=[first])
    async with wire(server, mcp=BRIDGE) as (client, _upstream, proxy):
        session = await client.initialize(capabilities={"elicitation": {}, "roots": {}})
        body = json.dumps(request("tools/call", 7, **CALL))
        async with client.http.stream("POST", "/mcp", content=body, headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            questions = [await next_message(lines) for _ in range(2)]
            refused = {"jsonrpc": "2.0", "id": questions[0]["id"], "error": {"code": -32603, "message": "no"}}
            await client.post(refused, session=session)
            rest = [await next_message(lines) for _ in range(2)]
        bridge: Any = proxy.upstream
        (bridged,) = bridge._legacy_clients._sessions.values()
        assert len(bridged.questions) == 0
    withdrawn, answer = rest
    assert withdrawn["method"] == "notifications/cancelled"
    assert withdrawn["params"]["requestId"] == questions[1]["id"]
    assert (answer["id"], answer["error"]["code"]) == (7, -32603)


async def test_E_05_what_a_modern_server_may_not_ask_for_ends_the_call() -> None:
    first = {"resultType": "input_required", "inputRequests": {"t": {"method": "tasks/list"}}, "requestState": "s1"}
    async with wire(ModernServer(tools_call=[first]), mcp=BRIDGE) as (client, *_):
        session = await client.initialize(capabilities={"tasks": {}})
        answer = await client.post(request("tools/call", 7, **CALL), session=session)
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (7, -32603)


async def test_L_07_equal_ids_in_a_batch_lose_no_answer() -> None:
    async with wire(ModernServer(tools_list=[{"tools": []}, {"tools": []}]), mcp=BRIDGE) as (client, *_):
        session = await client.initialize("2025-03-26")
        answer = await client.post([request("prompts/list", 1), request("prompts/list", 1)], session=session)
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        messages = messages_of(answer.text) if "data:" in answer.text else answer.json()
        assert [one["id"] for one in messages] == [1, 1]


async def test_M_14_subscriptions_end_when_the_server_has_lost_their_session() -> None:
    lost = asyncio.Event()

    async def listed(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        if not lost.is_set():
            lost.set()
            return http_response(404)
        return json_answer(result(rpc(raw)["id"], tools=[]))

    wanted = request("subscriptions/listen", "s", notifications={"toolsListChanged": True})
    async with (
        wire(legacy_only(LegacyServer(tools_list=listed)), mcp=BRIDGE) as (client, *_),
        client.http.stream("POST", "/mcp", **modern(wanted)) as stream,
    ):
        lines = stream.aiter_lines()
        acknowledged = await next_message(lines)
        again = (await client.post_modern(request("tools/list", 2))).json()
        ended = await next_message(lines)
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert again["result"]["tools"] == []
    assert (ended["id"], ended["result"]["resultType"]) == ("s", "complete")
