"""HTTP+SSE clients (2024-11-05): the official client through a real proxy, and the rules of the transport (S-01..S-06)."""

from __future__ import annotations

import json

import pytest

from tests.mcp_downstreams import sse_stream
from tests.mcp_legacy_server import Server, methods
from tests.mcp_wire import OTHER_KEY, event, notification, request, rpc, stream_head, wire
from tests.rawpeer import RawMessage, UpstreamPeer, chunked

HELLO = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "sse", "version": "1"}}


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
