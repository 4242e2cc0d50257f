"""LIM-15 on the way of MCP: whatever reads, checks, masks or restores a large message does so away from the event loop.
Counted by thread, not timed."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from proxies import off_loop
from proxies.contract import MCPSettings
from proxies.mcp import calls, endpoint, inspection, legacy, modern, relay, results, upstream
from proxies.mcp.bridge import leg
from proxies.mcp.bridge import upstream as bridge
from proxies.mcp.control import answers, declarations, lists
from proxies.mcp.control import calls as control_calls
from proxies.mcp.downstreams import incoming
from rules.json_schema import Schema
from tests.masking_rules import EMAIL, masking_ruleset
from tests.mcp_control import ControlConsole, accept_all, accepting
from tests.mcp_downstreams import websocket
from tests.mcp_legacy_server import Server, legacy_only, next_message
from tests.mcp_modern_server import BRIDGE, ModernServer
from tests.mcp_wire import (
    Wire,
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
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked
from tests.watched_work import Watch, Work

pytestmark = pytest.mark.interpreted
VALUES = [f"person{number}@mail{number}.example" for number in range(500)]
LARGE = "\n".join(f"{number}. write to {value}, who waits" for number, value in enumerate(VALUES))
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL = {"name": "send", "inputSchema": SCHEMA, "outputSchema": SCHEMA}
MANY_TOOLS = [{**TOOL, "name": f"tool_{number:03}", "description": "Sends it. " * 9} for number in range(99)]
CONTROLLED = MCPSettings(control=accepting(TOOL))


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What the steps that grow with a message did, each with the size of what it worked on."""
    watch = Watch(monkeypatch)

    def written(value: Any, *_more: Any) -> int:
        return len(str(value))

    for reader in (endpoint, upstream, leg, bridge, incoming):
        watch.add(reader, "parse", len)
    for writer in (calls, legacy, modern, relay):
        watch.add(writer, "dump", written)
    watch.add(inspection, "request_texts", lambda message, *_headers: written(message.params))
    watch.add(control_calls, "check_arguments", lambda _declaration, arguments: written(arguments))
    watch.add(control_calls, "check_result", lambda _declaration, result: written(result))
    watch.add(Schema, "violation", lambda _self, value: written(value))
    watch.add(declarations, "canonical_json", lambda _document: 0)
    watch.add(lists, "result_texts", lambda _method, result: written(result), "list_texts")
    watch.add(results, "header_annotations", lambda _schema: 0)
    watch.add(lists, "passing", lambda _control, listing, _key: len(listing.entries), "filter")
    return watch.works


def large(works: list[Work]) -> set[str]:
    return {work.step for work in works if work.size > off_loop.LARGE_BYTES}


def held(works: list[Work]) -> list[Work]:
    """Large work that was done on the loop."""
    return [work for work in works if work.on_loop and work.size > off_loop.LARGE_BYTES]


def echo(message: Any) -> dict[str, Any]:
    """The result of a tool that says what it was given."""
    arguments = message["params"]["arguments"]
    content = [{"type": "text", "text": arguments["text"]}]
    return result(message["id"], content=content, structuredContent=arguments)


def echoing(*, as_stream: bool) -> Server:
    async def call(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        answer = echo(rpc(raw))
        return stream_answer(answer) if as_stream else json_answer(answer)

    return Server(tools_call=call, tools_list=lists_of([TOOL]))


async def call(ends: Wire, era: str, text: str, session: str | None = None, id: int = 1) -> Any:
    body = request("tools/call", id, name="send", arguments={"text": text})
    if era == "modern":
        answer = await ends.client.post_modern(body)
    else:
        session = session or await ends.client.initialize()
        answer = await ends.client.post(body, session=session)
    return answer.json() if answer.text.startswith("{") else messages_of(answer.text)[-1]


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_LIM_15_a_large_call_and_its_result_are_handled_in_a_thread(works, era: str, as_stream: bool) -> None:
    async with wire(echoing(as_stream=as_stream), ruleset=masking_ruleset()) as ends:
        answer = await call(ends, era, LARGE)
        seen = str([one.body for one in ends.upstream.requests])

    assert answer["result"]["structuredContent"] == {"text": LARGE}
    assert VALUES[0] not in seen
    assert large(works) == {"parse", "dump", "request_texts", "recall", "mask_request", "finish_answer"}
    assert held(works) == []


@pytest.mark.parametrize("as_stream", [False, True])
async def test_LIM_15_the_bridge_reads_large_messages_of_a_legacy_server_in_a_thread(works, as_stream: bool) -> None:
    async with wire(legacy_only(echoing(as_stream=as_stream)), ruleset=masking_ruleset(), mcp=BRIDGE) as ends:
        answer = await call(ends, "modern", LARGE)
    assert answer["result"]["structuredContent"] == {"text": LARGE}
    parsed = [work for work in works if work.step == "parse" and work.size > off_loop.LARGE_BYTES]
    assert len(parsed) == 4  # Each message twice: by the gateway and by the bridge.
    assert held(works) == []


async def test_LIM_15_the_bridge_reads_large_messages_of_a_modern_server_in_a_thread(works) -> None:
    async def tools_call(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(echo(rpc(raw)))

    async with wire(ModernServer(tools_call=tools_call), ruleset=masking_ruleset(), mcp=BRIDGE) as ends:
        answer = await call(ends, "legacy", LARGE)
    assert answer["result"]["structuredContent"] == {"text": LARGE}
    assert held(works) == []


async def test_LIM_15_large_messages_on_a_websocket_are_read_in_a_thread(works) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "ws", "version": "1"}}
    sending = [
        request("initialize", 0, **hello),
        request("tools/call", 1, name="send", arguments={"text": LARGE}),
        request("tools/call", 2, name="send", arguments={"text": "small"}),
    ]
    async with (
        wire(echoing(as_stream=False), ruleset=masking_ruleset()) as ends,
        websocket(ends.proxy, max_size=None) as connection,
        asyncio.timeout(20),
    ):
        answers = {}
        for message in sending:
            await connection.send(json.dumps(message))
        for _ in sending:
            answer = json.loads(await connection.recv())
            answers[answer["id"]] = answer["result"]
    assert answers[1]["structuredContent"] == {"text": LARGE}
    assert answers[2]["structuredContent"] == {"text": "small"}
    assert held(works) == []


async def test_LIM_15_what_is_small_stays_on_the_loop(works) -> None:
    async with wire(echoing(as_stream=True), ruleset=masking_ruleset()) as ends:
        answer = await call(ends, "modern", EMAIL)
    assert answer["result"]["structuredContent"] == {"text": EMAIL}
    assert {"parse", "dump", "request_texts", "recall", "mask_request", "finish_answer"} <= {
        work.step for work in works
    }
    assert all(work.on_loop for work in works)


async def test_LIM_15_a_small_call_for_many_conditions_is_judged_in_a_thread(works) -> None:
    match = {"tool_arguments": [{"path": "$..*", "matches": "^evil$"}]}
    rules = [{"id": f"r{number}", "action": "deny", "match": match} for number in range(60)]
    policy = {"name": "many", "type": "mcp", "rules": rules}
    async with wire(echoing(as_stream=False), policies=[policy]) as ends:
        answer = await call(ends, "modern", "word " * 200)
    assert answer["result"]["structuredContent"]
    (judged,) = [work for work in works if work.step == "request_texts" and work.size > 500]
    assert not judged.on_loop
    assert judged.size < off_loop.LARGE_MESSAGE_BYTES


async def test_LIM_15_arguments_and_results_are_held_against_their_schemas_in_a_thread(works) -> None:
    console = ControlConsole(accept_all)
    respond = echoing(as_stream=False)
    async with wire(respond, ruleset=masking_ruleset(), console=console.take, mcp=CONTROLLED) as ends:
        console.attach(ends.proxy)
        answer = await call(ends, "legacy", LARGE)
    assert answer["result"]["structuredContent"] == {"text": LARGE}
    assert {"check_arguments", "check_result", "violation"} <= large(works)
    assert held(works) == []


async def test_LIM_15_a_large_list_is_hashed_filtered_and_inspected_in_a_thread(works) -> None:
    respond = Server(tools_list=lists_of(MANY_TOOLS))
    console = ControlConsole(accept_all)
    async with wire(respond, ruleset=masking_ruleset(), console=console.take, mcp=CONTROLLED) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize()
        first = await ends.client.post(request("tools/list"), session=session)
        done = {work.step for work in works}
        again = await ends.client.post(request("tools/list"), session=session)
    assert [one["name"] for one in first.json()["result"]["tools"]] == [one["name"] for one in MANY_TOOLS]
    assert again.json() == first.json()
    assert {"canonical_json", "list_texts", "filter", "recall"} <= done
    assert [work for work in works if work.on_loop and work.step in ("canonical_json", "list_texts")] == []
    assert held(works) == []


async def test_LIM_15_a_large_list_without_control_is_checked_in_a_thread(works) -> None:
    respond = Server(tools_list=lists_of(MANY_TOOLS))
    async with wire(respond, ruleset=masking_ruleset()) as ends:
        answer = await ends.client.post_modern(request("tools/list"))
    assert len(answer.json()["result"]["tools"]) == len(MANY_TOOLS)
    checked = [work for work in works if work.step == "header_annotations"]
    assert len(checked) == len(MANY_TOOLS)
    assert not any(work.on_loop for work in checked)
    assert held(works) == []


async def test_LIM_15_large_messages_of_a_sessions_own_stream_keep_their_order(works) -> None:
    """A large message is done in a thread, and the small one that follows it waits."""

    async def get(_raw: RawMessage, peer: UpstreamPeer) -> None:
        told = [notification("notifications/message", data=text, level="info") for text in (LARGE, "small", "last")]
        await peer.send(stream_head() + chunked(*map(event, told), last=False))

    async with wire(Server(GET=get), ruleset=masking_ruleset()) as ends:
        session = await ends.client.initialize()
        headers = legacy_headers(session)
        async with ends.client.http.stream("GET", "/mcp", headers=headers) as stream, asyncio.timeout(20):
            lines = stream.aiter_lines()
            said = [(await next_message(lines))["params"]["data"] for _ in range(3)]
    assert said[0].count("[REDACTED_EMAIL]") == len(VALUES)
    assert said[1:] == ["small", "last"]
    assert {"parse", "recall", "finish_answer", "dump"} <= large(works)
    assert held(works) == []


async def test_LIM_15_large_and_small_calls_of_one_session_mask_and_restore_at_the_same_time() -> None:
    """The session's values are shared by the threads and the loop."""
    texts = [LARGE, *(f"{EMAIL} and {value}" for value in VALUES[:20]), "\n".join(reversed(VALUES))]
    async with wire(echoing(as_stream=False), ruleset=masking_ruleset()) as ends:
        session = await ends.client.initialize()
        calling = (call(ends, "legacy", text, session, id) for id, text in enumerate(texts))
        answered = await asyncio.gather(*calling)
        seen = str([one.body for one in ends.upstream.requests])
    assert [one["result"]["structuredContent"]["text"] for one in answered] == texts
    assert not any(value in seen for value in (EMAIL, *VALUES))


async def test_LIM_15_a_large_page_that_is_known_is_compared_in_a_thread(works, monkeypatch) -> None:
    monkeypatch.setattr(answers, "RECALLED_ON_LOOP_BYTES", off_loop.LARGE_BYTES)
    on_loop: list[bool] = []
    loop_thread, real = threading.get_ident(), answers.KnownPage.recall

    def recall(*args: Any) -> Any:
        on_loop.append(threading.get_ident() == loop_thread)
        return real(*args)

    monkeypatch.setattr(answers.KnownPage, "recall", recall)
    console = ControlConsole(accept_all)
    respond = Server(tools_list=lists_of(MANY_TOOLS))
    async with wire(respond, ruleset=masking_ruleset(), console=console.take, mcp=CONTROLLED) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize()
        for _ in range(2):
            await ends.client.post(request("tools/list"), session=session)
    assert on_loop == [False, False]


def lists_of(tools: list[dict[str, Any]]) -> Any:
    """What answers a request for a list, under whatever id it comes."""
    written = json.dumps(tools)

    async def answer(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(result(rpc(raw)["id"], tools=json.loads(written), resultType="complete"))

    return answer
