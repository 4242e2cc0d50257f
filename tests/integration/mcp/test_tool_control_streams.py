"""What changes is heard and told: own streams to the server (L-08), notices to clients (T-04, T-08)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from proxies.contract import MCPControl, MCPSettings, UpstreamAuth
from proxies.mcp.control import session_stream, subscription
from tests.integration.mcp.test_mcp_sdk import connect
from tests.integration.mcp.test_tool_control import Scripted, called, controlled, listed, scripted
from tests.mcp_control import ControlConsole, accept_all, accepting, named, tool
from tests.mcp_legacy_server import methods, next_message
from tests.mcp_wire import (
    MODERN,
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
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response

CHANGED = "notifications/tools/list_changed"


class Announcing(Scripted):
    """A server with a stream on which a test lets it say something."""

    def __init__(self, *tools: dict[str, Any], **more: Any) -> None:
        super().__init__(*tools, **{"GET": self._stream, "initialize": self._initialize, **more})
        self.say: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.streams = 0
        self.listening = asyncio.Event()
        self.replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method == "POST" and "method" not in rpc(raw):
            self.replies.put_nowait(rpc(raw))
            return http_response(202)
        return await super().__call__(raw, peer)

    async def _initialize(self, raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        body = result(
            rpc(raw)["id"],
            protocolVersion="2025-11-25",
            capabilities={"tools": {"listChanged": True}},
            serverInfo={"name": "announcing", "version": "1"},
        )
        return json_answer(body, 200, "Mcp-Session-Id: s-1")

    async def _stream(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if self.streams:
            return http_response(409)
        self.streams += 1
        await peer.send(stream_head())
        self.listening.set()
        while True:
            await peer.send(chunked(event(await self.say.get()), last=False))


async def initialized(ends: Any) -> str:
    session = await ends.client.initialize()
    assert (await ends.client.post(notification("notifications/initialized"), session=session)).status_code == 202
    return session


async def test_L_08_a_change_is_heard_although_the_client_does_not_listen() -> None:
    server, console = Announcing(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        assert "result" in await called(ends, session, "one")
        await server.listening.wait()
        server.tools[0] = tool("one", "Does something else now.")
        server.say.put_nowait(notification(CHANGED))
        changed = tool("one", "Does something else now.")
        await console.wait_for(
            lambda: any(accept_all(one).tools == accepting(changed).tools for one in console.observations)
        )
        assert "error" in await called(ends, session, "one")
    assert [one.trigger for one in console.observations][-1] == "list_changed"
    assert server.calls == ["one"]


async def test_L_08_a_server_that_announces_changes_without_end_is_not_asked_each_time() -> None:
    server, console = Announcing(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        await server.listening.wait()
        for _ in range(500):
            server.say.put_nowait(notification(CHANGED))
        await until(server.say.empty)
        assert "result" in await called(ends, session, "one")
        assert methods(ends.upstream).count("tools/list") < 50
    assert server.calls == ["one"]


async def test_L_08_a_client_is_attached_to_the_stream_that_is_open_and_may_come_again() -> None:
    server, console = Announcing(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        await server.listening.wait()
        for text in ("first", "second"):
            async with ends.client.http.stream("GET", "/mcp", headers=legacy_headers(session)) as stream:
                assert stream.status_code == 200
                server.say.put_nowait(notification("notifications/message", level="info", data=text))
                assert (await next_message(stream.aiter_lines()))["params"]["data"] == text
        assert server.streams == 1
        await until(lambda: not ends.proxy.listener.in_flight)
        # Nobody is attached: a ping is answered by the gateway.
        server.say.put_nowait(request("ping", "p-1"))
        async with asyncio.timeout(10):
            assert (await server.replies.get()) == {"jsonrpc": "2.0", "id": "p-1", "result": {}}


async def test_L_08_a_server_without_streams_is_not_asked_again() -> None:
    server, console = Scripted(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        answer = await ends.client.http.get("/mcp", headers=legacy_headers(session))
        assert answer.status_code == 405
        assert "result" in await called(ends, session, "one")
        gets = [seen for seen in ends.upstream.requests if seen.method == "GET"]
    assert len(gets) <= 2


async def test_L_08_no_stream_is_opened_where_nothing_is_controlled() -> None:
    server = Announcing(tool("one"))
    async with scripted(server, ControlConsole(), mcp=None) as ends:
        await initialized(ends)
        assert await listed(ends, await initialized(ends)) == ["one"]
    assert server.streams == 0
    assert "server/discover" not in methods(ends.upstream)


async def test_L_08_the_own_stream_ends_with_the_session() -> None:
    gone = asyncio.Event()

    class Watching(Announcing):
        async def _stream(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
            await peer.send(stream_head())
            self.listening.set()
            await peer.read_some()
            gone.set()
            return None

    server = Watching(tool("one"))
    async with scripted(server, ControlConsole(), mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        await server.listening.wait()
        assert (await ends.client.http.delete("/mcp", headers=legacy_headers(session))).status_code == 204
        async with asyncio.timeout(10):
            await gone.wait()


async def test_T_08_a_session_is_told_what_was_approved_and_withdrawn() -> None:
    server, console = Announcing(tool("one"), tool("two")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        console.judge = lambda observation: None
        ends.proxy.judgements._wait_seconds = 0.01
        session = await initialized(ends)
        assert await listed(ends, session) == ["one"]
        async with ends.client.http.stream("GET", "/mcp", headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            await until(lambda: bool(ends.proxy.runtime.controlled.listeners))
            console.publish(accepting(tool("one"), tool("two")))
            assert await next_message(lines) == notification_body(CHANGED)
            assert await listed(ends, session) == ["one", "two"]
            # What the server does not declare concerns nobody, and neither does the same again.
            console.publish(accepting(tool("one"), tool("two"), tool("three")))
            console.publish(accepting(tool("two")))
            assert await next_message(lines) == notification_body(CHANGED)
            server.say.put_nowait(notification("notifications/message", level="info", data="and nothing else"))
            assert (await next_message(lines))["method"] == "notifications/message"


async def test_T_08_a_subscription_is_told_under_its_own_id() -> None:
    server, console = Scripted(tool("one"), tool("two"), era="modern"), ControlConsole()

    async def subscribed(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        id = rpc(raw)["id"]
        meta = {"io.modelcontextprotocol/subscriptionId": id}
        acknowledged = notification(
            "notifications/subscriptions/acknowledged", notifications={"toolsListChanged": True}, _meta=meta
        )
        await peer.send(stream_head())
        await peer.send(chunked(event(acknowledged), last=False))
        await peer.read_some()
        return None

    server.answers["subscriptions_listen"] = subscribed
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        ends.proxy.judgements._wait_seconds = 0.01
        assert await listed(ends, None) == ["one"]
        body = request("subscriptions/listen", "sub-1", notifications={"toolsListChanged": True})
        async with ends.client.http.stream("POST", "/mcp", **modern(body)) as stream:
            lines = stream.aiter_lines()
            assert (await next_message(lines))["method"] == "notifications/subscriptions/acknowledged"
            console.publish(accepting(tool("one"), tool("two")))
            told = await next_message(lines)
    assert told["method"] == CHANGED
    assert told["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "sub-1"}


async def test_L_08_the_gateway_subscribes_at_a_modern_server_by_itself() -> None:
    server, console = Scripted(tool("one"), era="modern"), ControlConsole()
    change = asyncio.Event()

    async def subscribed(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        id = rpc(raw)["id"]
        assert rpc(raw)["params"]["notifications"] == {"toolsListChanged": True}
        await peer.send(stream_head())
        await change.wait()
        meta = {"io.modelcontextprotocol/subscriptionId": id}
        await peer.send(chunked(event(notification(CHANGED, _meta=meta)), last=False))
        await peer.read_some()
        return None

    server.answers["subscriptions_listen"] = subscribed
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        assert "result" in await called(ends, None, "one")
        server.tools.append(tool("two"))
        change.set()
        await console.wait_for(lambda: "two" in console.names())
    assert {one.trigger for one in console.observations} == {"connect", "list_changed"}


async def test_T_08_the_official_client_hears_of_an_approval_over_its_own_subscription(server) -> None:
    console = ControlConsole(judge=lambda observation: MCPControl())
    async with controlled(server, console) as proxy, connect(proxy, MODERN) as client:
        assert (await client.list_tools()).tools == []
        await console.wait_for(lambda: any(one.server for one in console.observations))
        complete = next(one for one in console.observations if one.server)
        console.judge = None
        async with client.listen(tools_list_changed=True) as subscription:
            await until(lambda: bool(proxy.runtime.controlled.listeners))
            console.publish(accept_all(complete))
            async with asyncio.timeout(10):
                heard = await anext(aiter(subscription))
        assert type(heard).__name__ == "ToolsListChanged"
        assert "add" in named((await client.list_tools()).tools)


def notification_body(method: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method}


async def until(condition: Any) -> None:
    """Yield to the loop until something in this process holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("withdrawn", [False, True])
async def test_L_09_a_result_that_is_fetched_later_passes_only_if_its_tool_still_may(withdrawn: bool) -> None:
    late = asyncio.Event()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        # A priming event, and the end before the answer: the client has to come back for it.
        await peer.send(stream_head())
        await peer.send(chunked(b"id: e-1\nretry: 10\ndata: \n\n"))
        return None

    async def stream(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.header("last-event-id") is None:
            return http_response(405)
        await late.wait()
        await peer.send(stream_head())
        await peer.send(chunked(event(text_result(6, "at last"), id="e-2")))
        return None

    server, console = Announcing(tool("one"), tools_call=call), ControlConsole()
    server.answers["GET"] = stream
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await initialized(ends)
        body = request("tools/call", 6, name="one", arguments={})
        answer = await ends.client.post(body, session=session)
        primed = next(line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: "))
        if withdrawn:
            console.publish(accepting(tool("one"), enabled=False))
        late.set()
        resumed = await ends.client.http.get("/mcp", headers=legacy_headers(session, last_event_id=primed))
        (message,) = messages_of(resumed.text)
    if withdrawn:
        assert (message["error"]["code"], message["error"]["message"]) == (-32602, "Unknown tool: one")
        assert any("Dropped 1 messages" in one.reason for one in ends.proxy.records)
    else:
        assert message == text_result(6, "at last")


@pytest.mark.parametrize(("structured", "passes"), [({"sum": 3}, True), ({"sum": "secret"}, False)])
async def test_T_10_a_result_that_is_fetched_later_is_one_that_the_tool_gives(structured: Any, passes: bool) -> None:
    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        await peer.send(chunked(b"id: e-1\nretry: 10\ndata: \n\n"))

    async def stream(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.header("last-event-id") is None:
            return http_response(405)
        await peer.send(stream_head())
        await peer.send(chunked(event(result(6, content=[], structuredContent=structured), id="e-2")))
        return None

    adding = tool("add", outputSchema={"type": "object", "properties": {"sum": {"type": "integer"}}})
    server, console = Announcing(adding, tools_call=call, GET=stream), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(adding))) as ends:
        session = await initialized(ends)
        answer = await ends.client.post(request("tools/call", 6, name="add", arguments={}), session=session)
        primed = next(line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: "))
        resumed = await ends.client.http.get("/mcp", headers=legacy_headers(session, last_event_id=primed))
        (message,) = messages_of(resumed.text)
    assert ("result" in message) is passes
    if not passes:
        assert (message["id"], message["error"]["code"]) == (6, -32012)
        assert message["error"]["data"]["code"] == "upstream_invalid"
        assert "/sum must be integer" in message["error"]["message"]
        assert "secret" not in resumed.text


async def test_L_08_a_stream_that_breaks_is_opened_again_and_given_up_after_some_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_stream, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(session_stream, "MAX_PAUSE_SECONDS", 0.002)
    answers: list[bytes] = [http_response(500), stream_head() + chunked(event(notification(CHANGED)))]
    server, console = Announcing(tool("one")), ControlConsole()

    async def stream(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        server.streams += 1
        return answers.pop(0) if answers else http_response(503)

    server.answers["GET"] = stream
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        await initialized(ends)
        # The second answer has said that the tools changed, so they are listed; then every attempt fails.
        await console.wait_for(lambda: console.observations)
        await until(lambda: server.streams == 2 + session_stream.MAX_FAILURES)


async def test_L_08_a_subscription_that_breaks_makes_the_lists_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "FIRST_PAUSE_SECONDS", 0.001)
    server, console = Scripted(tool("one"), era="modern"), ControlConsole()
    answers: list[bytes] = [http_response(503), stream_head() + chunked(event(result(None, resultType="complete")))]

    async def subscribed(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return answers.pop(0) if answers else http_response(404)

    server.answers["subscriptions_listen"] = subscribed
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        assert "result" in await called(ends, None, "one")
        await until(lambda: not answers)
        server.tools[0] = tool("one", "Does something else now.")
        await until(lambda: ends.proxy.runtime.controlled.catalogue.changed_at("tool") > 0)
        assert "error" in await called(ends, None, "one")


async def test_T_04_a_proxy_that_leads_to_another_server_forgets_the_first() -> None:
    server, console = Scripted(tool("one")), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(tool("one")))) as ends:
        session = await ends.client.initialize()
        assert "result" in await called(ends, session, "one")
        lists = server.lists
        runtime = ends.proxy.runtime
        auth = UpstreamAuth(type="bearer", value="another-credential-for-tests")
        config = msgspec.structs.replace(runtime.config, upstream_auth=auth)
        ends.proxy.swap(msgspec.structs.replace(runtime, config=config))
        assert "result" in await called(ends, session, "one")
        assert server.lists > lists
