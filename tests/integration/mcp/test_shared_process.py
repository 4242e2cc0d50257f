"""Sessions that share a process of a server (P-04): each gets its own answers, and of several keys nobody hears another."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.mcp_legacy_server import next_message
from tests.mcp_stdio import alive, call, calling, stand, until, who
from tests.mcp_wire import legacy_headers, notification, request

SHARING = pytest.mark.parametrize("process", ["key", "shared"])


async def test_P_04_the_sessions_of_one_key_share_a_process_and_other_keys_have_theirs() -> None:
    async with stand(process="key") as (client, other, proxy):
        first, second, foreign = await client.initialize(), await client.initialize(), await other.initialize()
        for session in (first, second):
            await client.post(notification("notifications/initialized"), session=session)
        one, two, three = await who(client, first), await who(client, second), await who(other, foreign)
        assert first != second
        assert one["pid"] == two["pid"] != three["pid"]
        heard = [message["method"] for message in json.loads(await call(client, first, "seen"))]
        assert heard.count("initialize") == heard.count("notifications/initialized") == 1
        assert (await client.post(request("tools/list"), session=foreign)).status_code == 404
        await client.http.delete("/mcp", headers={"mcp-session-id": first})
        assert (await who(client, second))["pid"] == one["pid"]
        await client.http.delete("/mcp", headers={"mcp-session-id": second})
        await until(lambda: not alive(one["pid"]))
        assert proxy.upstream.open_channels == 1


async def test_P_04_every_key_shares_one_process_where_that_is_wanted() -> None:
    async with stand(process="shared") as (client, other, _proxy):
        first, second = await client.initialize(), await other.initialize(capabilities={"roots": {}})
        one, two = await who(client, first), await who(other, second)
        seen = json.loads(await call(client, first, "seen"))
        # The sessions are still of one key each.
        assert (await client.post(request("tools/list"), session=second)).status_code == 404
    assert one["pid"] == two["pid"]
    (hello,) = [message["params"] for message in seen if message["method"] == "initialize"]
    assert (hello["capabilities"], hello["clientInfo"]["name"]) == ({}, "ostiary")


async def test_P_04_a_client_that_can_do_something_else_gets_a_process_of_its_own() -> None:
    async with stand(process="key") as (client, _other, proxy):
        await client.initialize()
        await client.initialize(capabilities={"roots": {}})
        await client.initialize("2025-06-18")
        assert proxy.upstream.open_channels == 3


@SHARING
async def test_P_04_equal_ids_and_tokens_of_two_sessions_are_kept_apart(process: str) -> None:
    async with stand(process=process) as (client, other, _proxy):
        second_client = other if process == "shared" else client
        first, second = await client.initialize(), await second_client.initialize()

        async def held(caller: Any, session: str, text: str) -> tuple[Any, Any]:
            body = calling("hold", 7, text=text)
            body["params"]["_meta"] = {"progressToken": "same"}
            async with caller.http.stream("POST", "/mcp", json=body, headers=legacy_headers(session)) as stream:
                lines = stream.aiter_lines()
                told = await next_message(lines)
                started.release()
                return told, await next_message(lines)

        started = asyncio.Semaphore(0)
        calls = [
            asyncio.create_task(held(client, first, "one")),
            asyncio.create_task(held(second_client, second, "two")),
        ]
        for _ in calls:
            await started.acquire()
        # A cancellation names the own request alone, although the other session has one with this id.
        await client.post(notification("notifications/cancelled", requestId=8), session=first)
        await call(client, first, "release")
        results = [await one for one in calls]
    assert [told["params"]["progressToken"] for told, _ in results] == ["same", "same"]
    assert [answer["result"]["content"][0]["text"] for _, answer in results] == ["one", "two"]
    assert [answer["id"] for _, answer in results] == [7, 7]


async def test_P_04_one_session_cannot_cancel_the_request_of_another() -> None:
    async with stand(process="shared") as (client, other, _proxy):
        first, second = await client.initialize(), await other.initialize()
        waiting = asyncio.create_task(call(client, first, "hold", text="mine"))
        async with asyncio.timeout(10):
            while "hold" not in await call(other, second, "seen"):
                pass
        await other.post(notification("notifications/cancelled", requestId=1), session=second)
        seen = json.loads(await call(other, second, "seen"))
        await call(other, second, "release")
        assert await waiting == "mine"
    assert "notifications/cancelled" not in [message.get("method") for message in seen]


async def test_P_04_what_changes_is_heard_by_every_session_and_questions_of_a_shared_process_by_none() -> None:
    async with stand(process="shared") as (client, other, _proxy):
        first, second = await client.initialize(capabilities={"roots": {}}), await other.initialize()
        async with (
            client.http.stream("GET", "/mcp", headers=legacy_headers(first)) as one,
            other.http.stream("GET", "/mcp", headers=legacy_headers(second)) as two,
        ):
            await call(client, first, "announce")
            told = [(await next_message(stream.aiter_lines()))["method"] for stream in (one, two)]
        refused = json.loads(await call(client, first, "ask"))
    assert told == ["notifications/tools/list_changed"] * 2
    assert refused["code"] == -32601


async def test_P_04_modern_requests_of_every_key_share_the_process_too() -> None:
    async with stand("modern", process="shared") as (client, other, proxy):
        answers = [await one.post_modern(calling("who")) for one in (client, other)]
        assert proxy.upstream.open_channels == 1
    pids = {json.loads(one.json()["result"]["content"][0]["text"])["pid"] for one in answers}
    assert len(pids) == 1


@SHARING
async def test_P_03_when_a_shared_process_ends_all_its_sessions_do(process: str) -> None:
    async with stand(process=process) as (client, other, _proxy):
        second_client = other if process == "shared" else client
        first, second = await client.initialize(), await second_client.initialize()
        await client.post(calling("die"), session=first)
        answers = [
            await one.post(request("tools/list"), session=session)
            for one, session in ((client, first), (second_client, second))
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert (await who(client, await client.initialize()))["pid"] > 0
