"""HTTP+SSE clients (2024-11-05): the official client through a real proxy, and the rules of the transport (S-01..S-06)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from mcp import types
from mcp.shared.exceptions import MCPError

from proxies.runtime import KeyRing
from tests.mcp_downstreams import sse_session, sse_stream
from tests.mcp_legacy_server import Server, methods
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_server import MCPServerProcess
from tests.mcp_wire import CLIENT_KEY, OTHER_KEY, event, notification, request, rpc, stream_head, wire
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer, chunked

HELLO = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "sse", "version": "1"}}


@pytest.fixture
async def proxy(server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp", target_url=server.url, client_key=CLIENT_KEY, other_keys=(OTHER_KEY,), ruleset=small_ruleset()
    ) as running:
        yield running


async def test_S_01_the_official_client_lists_and_calls_over_http_sse(proxy, server) -> None:
    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async with sse_session(proxy) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        added = await client.call_tool("add", {"a": 2, "b": 3})
        counted = await client.call_tool("slow", {"steps": 3}, progress_callback=progress)

    assert {"echo", "add", "slow"} <= names
    assert (added.content[0].text, counted.content[0].text) == ("5", "counted")
    assert seen == [1, 2, 3]
    assert ["add", {"a": 2, "b": 3}] in server.calls()
    call = next(record for record in proxy.records if record.operation == "tools/call add")
    assert (call.method, call.path, call.protocol, call.outcome) == ("POST", "/messages", "mcp.legacy", "allowed")
    assert call.principal_id == "key_test"


async def test_S_01_a_question_of_the_server_travels_on_the_stream_and_its_answer_as_a_post(proxy, server) -> None:
    async def elicit(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with sse_session(proxy, elicitation_callback=elicit) as client:
        result = await client.call_tool("ask", {})
    assert result.content[0].text == "peace"


async def test_S_05_a_message_is_judged_like_one_of_streamable_http(proxy, server) -> None:
    async with sse_session(proxy) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("run_command", {"args": BLOCKED})
        after = await client.call_tool("echo", {"text": "still here"})
    assert refused.value.error.code == -32010
    assert after.content[0].text == "still here"
    assert server.calls() == [["echo", {"text": "still here"}]]
    call = next(record for record in proxy.records if record.operation == "tools/call run_command")
    assert call.outcome == "blocked"
    assert refused.value.error.data == {"ref": call.id}


async def test_S_04_the_end_of_the_stream_ends_the_session_on_both_legs(proxy) -> None:
    async with sse_session(proxy) as client:
        await client.list_tools()
    await proxy.wait_for_records(4)
    await proxy.carriers.settle(10)
    assert [record.operation for record in proxy.records].count("session end") == 1
    connection = next(record for record in proxy.records if record.operation == "connection")
    assert (connection.path, connection.protocol) == ("/sse", "mcp.sse")


async def test_S_02_the_endpoint_is_ours_and_relative() -> None:
    async with wire(Server()) as (client, _upstream, _proxy), sse_stream(client.http) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        path, _, id = stream.endpoint.partition("?sessionId=")
    assert path == "/messages"
    assert len(id) >= 22


async def test_S_03_another_principal_cannot_post_to_the_stream() -> None:
    async with wire(Server()) as (client, upstream, _proxy), sse_stream(client.http) as stream:
        stolen = await stream.post(request("initialize", 0, **HELLO), authorization=f"Bearer {OTHER_KEY}")
        nobody = await stream.post(request("initialize", 0, **HELLO), authorization="Bearer ost_wrong")
        unknown = await client.http.post("/messages?sessionId=unknown", json=request("ping"))
        missing = await client.http.post("/messages", json=request("ping"))
        twice = await client.http.post(stream.endpoint + "&" + stream.endpoint.partition("?")[2], json=request("ping"))
        own = await stream.post(request("initialize", 0, **HELLO))
        answer = await stream.message()
    assert [one.status_code for one in (stolen, nobody, unknown, missing, twice)] == [404, 401, 404, 404, 404]
    assert (own.status_code, own.content) == (202, b"")
    assert answer["result"]["serverInfo"]["name"] == "scripted"
    assert methods(upstream)[0] == "initialize"


async def test_S_04_after_the_stream_its_handle_is_unknown() -> None:
    async with wire(Server()) as (client, _upstream, proxy):
        async with sse_stream(client.http) as stream:
            await stream.post(request("initialize", 0, **HELLO))
            await stream.message()
        await proxy.wait_for_records(2)
        late = await stream.post(request("ping"))
    assert late.status_code == 404


async def test_S_01_what_the_server_says_unasked_arrives_on_the_stream() -> None:
    async def listening(_raw: RawMessage, peer: UpstreamPeer) -> None:
        changed = event(notification("notifications/tools/list_changed"))
        await peer.send(stream_head() + chunked(changed, last=False))
        await peer.wait_gone()

    async with wire(Server(GET=listening)) as (client, _upstream, _proxy), sse_stream(client.http) as stream:
        await stream.post(request("initialize", 0, **HELLO))
        await stream.message()
        await stream.post(notification("notifications/initialized"))
        heard = await stream.message()
    assert heard["method"] == "notifications/tools/list_changed"


async def test_L_10_an_answer_whose_stream_was_closed_early_is_fetched() -> None:
    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        primed = b"id: e1\nretry: 1\ndata: \n\n"
        call.id = rpc(raw)["id"]
        await peer.send(stream_head() + chunked(primed))

    async def resumed(raw: RawMessage, peer: UpstreamPeer) -> None:
        assert raw.header("last-event-id") == "e1"
        answer = {"jsonrpc": "2.0", "id": call.id, "result": {"content": []}}
        await peer.send(stream_head() + chunked(event(answer), last=False))
        await peer.wait_gone()

    async with (
        wire(Server(tools_call=call, GET=resumed)) as (client, _upstream, _proxy),
        sse_stream(client.http) as stream,
    ):
        await stream.post(request("initialize", 0, **(HELLO | {"protocolVersion": "2025-11-25"})))
        await stream.message()
        await stream.post(request("tools/call", 5, name="poll", arguments={}))
        answer = await stream.message()
    assert answer == {"jsonrpc": "2.0", "id": 5, "result": {"content": []}}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'{"jsonrpc":"2.0","method":"a","method":"b"}', {}, 400),
        (json.dumps(request("ping")).encode(), {"content_type": "text/plain"}, 415),
        (json.dumps(request("ping")).encode(), {"content_encoding": "gzip"}, 415),
        (json.dumps(notification("notifications/unknown")).encode(), {}, 400),
    ],
)
async def test_G_04_a_message_that_cannot_be_read_is_refused_by_its_post(body, headers, status) -> None:
    async with wire(Server()) as (client, upstream, _proxy), sse_stream(client.http) as stream:
        answer = await stream.post(body, **headers)
    assert answer.status_code == status
    assert upstream.requests == []


async def test_S_06_a_get_of_the_streamable_endpoint_stays_a_405() -> None:
    async with wire(Server()) as (client, _upstream, _proxy):
        get = await client.http.get("/mcp", headers={"accept": "text/event-stream"})
        post = await client.http.post("/sse", json=request("ping"))
        other = await client.http.get("/messages")
    assert (get.status_code, post.status_code, other.status_code) == (405, 405, 405)
    assert (post.headers["allow"], other.headers["allow"]) == ("GET", "POST")


async def test_G_01_host_and_origin_are_checked_on_the_stream_and_its_posts() -> None:
    async with wire(Server()) as (client, _upstream, _proxy), sse_stream(client.http) as stream:
        opened = await client.http.get("/sse", headers={"origin": "http://evil.test"})
        posted = await stream.post(request("ping"), host="evil.test")
    assert (opened.status_code, posted.status_code) == (403, 403)


async def test_a_revoked_key_ends_its_stream_at_the_next_snapshot() -> None:
    async with wire(Server()) as (client, _upstream, proxy), sse_stream(client.http) as stream:
        proxy.runtime = msgspec.structs.replace(proxy.runtime, keys=KeyRing([]))
        proxy.carriers.recheck(proxy.runtime)
        with pytest.raises(AssertionError, match="the stream ended"):
            await stream.event()
        (record,) = await proxy.wait_for_records(1)
    assert record.reason == "The stream was ended: the key is not valid any more."


async def test_a_draining_listener_ends_the_stream_after_what_is_under_way() -> None:
    release = asyncio.Event()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        await release.wait()
        answer = {"jsonrpc": "2.0", "id": rpc(raw)["id"], "result": {"content": []}}
        await peer.send(chunked(event(answer)))

    async with wire(Server(tools_call=call)) as (client, upstream, proxy), sse_stream(client.http) as stream:
        await stream.post(request("initialize", 0, **HELLO))
        await stream.message()
        await stream.post(request("tools/call", 5, name="x", arguments={}))
        await upstream.wait_for_requests(2)
        draining = asyncio.ensure_future(proxy.listener.drain(10))
        await asyncio.sleep(0)
        release.set()
        assert (await stream.message())["id"] == 5
        with pytest.raises(AssertionError, match="the stream ended"):
            await stream.event()
        await draining


async def test_L_08_the_session_stream_is_opened_again_when_the_server_closes_it() -> None:
    opened = iter(range(10))

    async def listening(raw: RawMessage, peer: UpstreamPeer) -> None:
        number = next(opened)
        assert raw.header("last-event-id") == (f"e{number - 1}" if number else None)
        told = b"retry: 1\n" + event(notification("notifications/tools/list_changed"), f"e{number}")
        await peer.send(stream_head() + chunked(told))

    async with wire(Server(GET=listening)) as (client, _upstream, _proxy), sse_stream(client.http) as stream:
        await stream.post(request("initialize", 0, **HELLO))
        await stream.message()
        await stream.post(notification("notifications/initialized"))
        heard = [await stream.message() for _ in range(2)]
    assert {message["method"] for message in heard} == {"notifications/tools/list_changed"}


async def test_L_03_a_session_that_the_server_lost_ends_the_stream_so_that_the_client_opens_anew() -> None:
    lost = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    async with wire(Server(tools_list=lost)) as (client, _upstream, proxy):
        async with sse_stream(client.http) as stream:
            await stream.post(request("initialize", 0, **HELLO))
            await stream.message()
            await stream.post(request("tools/list", 1))
            refused = await stream.message()
            with pytest.raises(AssertionError, match="the stream ended"):
                await stream.event()
        connection = next(record for record in proxy.records if record.operation == "connection")
    assert refused["error"]["message"] == "Session not found"
    assert connection.reason == "The stream was ended: the session is over."


async def test_an_answer_that_ends_before_its_response_is_an_error_for_its_request() -> None:
    async def call(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1))))

    async def broken(_raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

    server = Server(tools_call=call, prompts_list=broken)
    async with wire(server) as (client, _upstream, _proxy), sse_stream(client.http) as stream:
        await stream.post(request("initialize", 0, **HELLO))
        await stream.message()
        await stream.post(request("tools/call", 5, name="x", arguments={}))
        assert (await stream.message())["method"] == "notifications/progress"
        ended = await stream.message()
        await stream.post(request("prompts/list", 6))
        failed = await stream.message()
    assert (ended["id"], ended["error"]["code"]) == (5, -32012)
    assert (failed["id"], failed["error"]["code"]) == (6, -32012)


async def test_L_07_a_batch_of_2025_03_26_passes_over_http_sse() -> None:
    async def batch(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        answers = json.dumps([{"jsonrpc": "2.0", "id": one["id"], "result": {}} for one in rpc(raw)]).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answers)
        return head + answers

    async with (
        wire(Server("2025-03-26", batch=batch)) as (client, _upstream, _proxy),
        sse_stream(client.http) as stream,
    ):
        await stream.post(request("initialize", 0, **(HELLO | {"protocolVersion": "2025-03-26"})))
        await stream.message()
        await stream.post([request("ping", 1), request("ping", 2)])
        answers = await stream.message()
    assert [answer["id"] for answer in answers] == [1, 2]
