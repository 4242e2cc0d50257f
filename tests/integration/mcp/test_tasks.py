"""Tasks through the gateway: results that arrive after their call was answered are inspected and stay with their caller."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxies.mcp.modern_tasks import MAX_LISTENED_TASKS
from tests.masking_rules import masking_ruleset
from tests.mcp_legacy_server import Server, methods
from tests.mcp_rules import RESPONSE_BLOCKED
from tests.mcp_wire import (
    META,
    OTHER_KEY,
    MCPClient,
    Wire,
    json_answer,
    messages_of,
    notification,
    request,
    result,
    rpc,
    stream_answer,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer

TASKS = "io.modelcontextprotocol/tasks"
DECLARED = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "extensions": {TASKS: {}}}}
TAG = {"io.modelcontextprotocol/subscriptionId": "sub"}


def stranger(wired: Wire) -> MCPClient:
    """Another principal of the same proxy."""
    return MCPClient(
        httpx.AsyncClient(base_url=wired.proxy.url, headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=20)
    )


def legacy_task(id: str, text: str) -> Server:
    """A server whose tool call becomes the task `id`, and whose task says `text`."""

    def answering(body: dict[str, Any]) -> Any:
        async def answer(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
            return json_answer({"jsonrpc": "2.0", "id": rpc(raw)["id"], "result": body})

        return answer

    return Server(
        tools_call=answering({"task": {"taskId": id, "status": "working"}}),
        tasks_get=answering({"taskId": id, "status": "completed"}),
        tasks_list=answering({"tasks": [{"taskId": id}, {"taskId": "somebody else's"}]}),
        tasks_result=answering(
            {
                "content": [{"type": "text", "text": text}],
                "_meta": {"io.modelcontextprotocol/related-task": {"taskId": id}},
            }
        ),
    )


async def test_L_15_a_legacy_task_is_asked_for_by_its_caller_alone() -> None:
    async with wire(legacy_task("task-1", "done")) as wired:
        client, upstream, _proxy = wired
        session = await client.initialize(capabilities={"tasks": {}})
        started = await client.post(request("tools/call", 1, name="t", task={"ttl": 1000}), session=session)
        got = await client.post(request("tasks/get", 2, taskId="task-1"), session=session)
        listed = await client.post(request("tasks/list", 3), session=session)
        fetched = await client.post(request("tasks/result", 4, taskId="task-1"), session=session)
        other = stranger(wired)
        theirs = await other.initialize()
        seen = len(upstream.requests)
        refused = await other.post(request("tasks/result", 5, taskId="task-1"), session=theirs)
        nothing = await other.post(request("tasks/list", 6), session=theirs)
        await other.http.aclose()
    assert started.json()["result"]["task"]["taskId"] == "task-1"
    assert got.json()["result"]["status"] == "completed"
    assert listed.json()["result"]["tasks"] == [{"taskId": "task-1"}]
    assert fetched.json()["result"]["content"] == [{"type": "text", "text": "done"}]
    assert (refused.status_code, refused.json()["error"]["code"]) == (200, -32602)
    assert nothing.json()["result"]["tasks"] == []
    assert methods(upstream)[seen:] == ["tasks/list"]
    assert rpc(upstream.requests[1])["params"]["task"] == {"ttl": 1000}


async def test_L_15_and_I_10_the_result_of_a_legacy_task_is_inspected_where_it_arrives() -> None:
    async with wire(legacy_task("task-2", f"well, {RESPONSE_BLOCKED}")) as (client, _upstream, proxy):
        session = await client.initialize()
        await client.post(request("tools/call", 1, name="t", task={}), session=session)
        fetched = await client.post(request("tasks/result", 2, taskId="task-2"), session=session)
    assert fetched.json()["error"]["code"] == -32010
    assert (proxy.records[-1].operation, proxy.records[-1].outcome) == ("tasks/result", "blocked")


def modern_server(**answers: Any) -> Any:
    """A modern server: `answers` are results by method."""

    async def respond(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        message = rpc(raw)
        answer = answers[message["method"].replace("/", "_")]
        return answer if type(answer) is bytes else json_answer(result(message["id"], **answer))

    return respond


def asking(method: str, id: int = 1, **params: Any) -> dict[str, Any]:
    return request(method, id, _meta=DECLARED, **params)


def started(id: str) -> dict[str, Any]:
    return {"resultType": "task", "taskId": id, "status": "working", "ttlMs": 1000}


async def test_M_20_a_modern_task_is_asked_for_by_its_caller_alone() -> None:
    done = {"resultType": "complete", "taskId": "task-3", "status": "completed", "result": {"content": []}}
    server = modern_server(tools_call=started("task-3"), tasks_get=done, tasks_cancel={"resultType": "complete"})
    async with wire(server) as wired:
        client, upstream, _proxy = wired
        created = await client.post_modern(asking("tools/call", name="t"))
        got = await client.post_modern(asking("tasks/get", taskId="task-3"), mcp_name="task-3")
        other = stranger(wired)
        refused = [
            await other.post_modern(asking("tasks/get", taskId="task-3"), mcp_name="task-3"),
            await other.post_modern(asking("tasks/cancel", taskId="task-3"), mcp_name="task-3"),
            await client.post_modern(asking("tasks/get", taskId="task-4"), mcp_name="task-4"),
        ]
        undeclared = await client.post_modern(request("tasks/get", taskId="task-3"), mcp_name="task-3")
        mismatched = await client.post_modern(asking("tasks/get", taskId="task-3"), mcp_name="task-4")
        await other.http.aclose()
    assert created.json()["result"] == started("task-3")
    assert got.json()["result"] == done
    assert [(one.status_code, one.json()["error"]["code"]) for one in refused] == [(200, -32602)] * 3
    assert (undeclared.status_code, undeclared.json()["error"]["code"]) == (400, -32021)
    assert undeclared.json()["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    assert (mismatched.status_code, mismatched.json()["error"]["code"]) == (400, -32020)
    assert [(rpc(seen)["method"], seen.header("mcp-name")) for seen in upstream.requests] == [
        ("tools/call", "t"),
        ("tasks/get", "task-3"),
    ]


async def test_M_20_a_task_for_a_client_that_did_not_declare_it_fails_the_call() -> None:
    async with wire(modern_server(tools_call=started("task-5"))) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/call", name="t"))
    assert answer.json()["error"]["code"] == -32012


@pytest.mark.parametrize(
    "told",
    [
        {"result": {"content": [{"type": "text", "text": RESPONSE_BLOCKED}]}},
        {"error": {"code": -1, "message": RESPONSE_BLOCKED}},
        {"inputRequests": {"q": {"method": "elicitation/create", "params": {"message": RESPONSE_BLOCKED}}}},
    ],
)
async def test_M_20_and_I_10_what_a_modern_task_tells_is_inspected(told: dict[str, Any]) -> None:
    got = {"resultType": "complete", "taskId": "task-6", "status": "completed", **told}
    async with wire(modern_server(tools_call=started("task-6"), tasks_get=got)) as (client, _upstream, _proxy):
        await client.post_modern(asking("tools/call", name="t"))
        answer = await client.post_modern(asking("tasks/get", taskId="task-6"), mcp_name="task-6")
    assert answer.json()["error"]["code"] == -32010


async def test_M_20_an_answer_about_another_task_does_not_pass() -> None:
    got = {"resultType": "complete", "taskId": "task-8", "status": "working"}
    async with wire(modern_server(tools_call=started("task-7"), tasks_get=got)) as (client, _upstream, _proxy):
        await client.post_modern(asking("tools/call", name="t"))
        answer = await client.post_modern(asking("tasks/get", taskId="task-7"), mcp_name="task-7")
    assert answer.json()["error"]["code"] == -32012


async def test_M_14_and_M_20_a_listen_stream_tells_of_the_callers_own_tasks() -> None:
    def told(id: str, text: str) -> dict[str, Any]:
        outcome = {"content": [{"type": "text", "text": text}]}
        return notification("notifications/tasks", taskId=id, status="completed", result=outcome, _meta=TAG)

    stream = stream_answer(
        notification("notifications/subscriptions/acknowledged", notifications={"taskIds": ["task-9"]}, _meta=TAG),
        told("task-9", "done"),
        told("task-10", "not yours"),
        result("sub", resultType="complete", _meta=TAG),
    )
    server = modern_server(tools_call=started("task-9"), subscriptions_listen=stream)
    async with wire(server) as (client, upstream, _proxy):
        await client.post_modern(asking("tools/call", name="t"))
        listening = asking("subscriptions/listen", notifications={"taskIds": ["task-9", "task-10"]})
        answer = await client.post_modern({**listening, "id": "sub"})
    assert rpc(upstream.requests[-1])["params"]["notifications"] == {"taskIds": ["task-9"]}
    texts = [
        one["params"].get("taskId") for one in messages_of(answer.text) if one.get("method") == "notifications/tasks"
    ]
    assert texts == ["task-9"]


async def test_M_14_of_one_subscription_a_bounded_number_of_tasks_is_looked_up() -> None:
    acknowledged = notification("notifications/subscriptions/acknowledged", notifications={}, _meta=TAG)
    stream = stream_answer(acknowledged, result("sub", resultType="complete", _meta=TAG))
    server = modern_server(tools_call=started("task-12"), subscriptions_listen=stream)
    async with wire(server) as (client, upstream, _proxy):
        await client.post_modern(asking("tools/call", name="t"))
        for others in (MAX_LISTENED_TASKS - 1, MAX_LISTENED_TASKS):
            ids = [*(f"other-{number}" for number in range(others)), "task-12"]
            listening = asking("subscriptions/listen", notifications={"taskIds": ids})
            await client.post_modern({**listening, "id": "sub"})
        heard = [rpc(raw)["params"]["notifications"] for raw in upstream.requests[-2:]]
    assert heard == [{"taskIds": ["task-12"]}, {"taskIds": []}]


async def test_M_20_values_that_were_masked_in_the_call_are_restored_in_what_its_task_brings() -> None:
    sent: list[str] = []

    async def respond(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        message = rpc(raw)
        if message["method"] == "tools/call":
            sent.append(message["params"]["arguments"]["text"])
            return json_answer(result(message["id"], **started("task-11")))
        outcome = {"content": [{"type": "text", "text": f"I wrote to {sent[0]}"}]}
        got = {"resultType": "complete", "taskId": "task-11", "status": "completed", "result": outcome}
        return json_answer(result(message["id"], **got))

    async with wire(respond, ruleset=masking_ruleset()) as (client, _upstream, _proxy):
        await client.post_modern(asking("tools/call", name="t", arguments={"text": "alice@example.com"}))
        got = await client.post_modern(asking("tasks/get", taskId="task-11"), mcp_name="task-11")
    assert "alice" not in sent[0]
    assert got.json()["result"]["result"]["content"][0]["text"] == "I wrote to alice@example.com"
    assert "alice" not in json.dumps(sent)
