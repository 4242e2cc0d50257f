"""The messages between clients and a server that a proxy starts itself: ids, tokens, eras and streams."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from proxies.contract import Limits
from tests.mcp_legacy_server import next_message
from tests.mcp_stdio import call, calling, modern_post, stand, until
from tests.mcp_wire import messages_of, modern, notification, request


def held(text: str) -> dict[str, Any]:
    """A modern call with the same id and token as everybody else's."""
    body = calling("hold", 1, text=text)
    envelope = json.loads(modern(body)["content"])["params"]["_meta"]
    body["params"]["_meta"] = {**envelope, "progressToken": "same"}
    return body


async def test_P_04_two_clients_with_the_same_ids_share_a_process_and_do_not_meet() -> None:
    async with stand("modern") as (client, _other, proxy):
        first = asyncio.create_task(modern_post(client, held("first")))
        second = asyncio.create_task(modern_post(client, held("second")))
        await until(
            lambda: sum(len(seat.conversation._multiplexer) for seat in proxy.upstream._seats if seat.conversation) == 2
        )
        await modern_post(client, calling("release", 1))
        texts = [messages_of((await one).text) for one in (first, second)]
        assert proxy.upstream.open_channels == 1
    for messages, said in zip(texts, ("first", "second"), strict=True):
        progress, result = messages
        assert progress["params"]["progressToken"] == "same"
        assert (result["id"], result["result"]["content"][0]["text"]) == (1, said)


async def test_E_05_a_modern_client_of_a_process_of_the_legacy_era_is_told_what_to_do() -> None:
    async with stand() as (client, _other, proxy):
        answers = [await modern_post(client, request("tools/list", number)) for number in (1, 2)]
        assert proxy.upstream.problem == ""
    for number, answer in enumerate(answers, 1):
        error = answer.json()["error"]
        assert (answer.status_code, answer.json()["id"], error["code"]) == (400, number, -32600)
        assert error["data"]["code"] == "era_not_spoken"
        assert "bridge" in error["data"]["remediation"]
    assert {(one.outcome, one.error_code) for one in proxy.records} == {("upstream_error", "era_not_spoken")}


MODERN_ONLY = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    known = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}, "ttlMs": 0,
        "cacheScope": "private"}
    answer = {"result": known} if message["method"] == "server/discover" else {"error": {"code": -32601, "message": "no"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


async def test_E_04_a_process_that_falls_back_raises_an_alert_too(tmp_path: Path) -> None:
    """The program is replaced by an older one, and the process ends."""
    older = "import pathlib\nolder = pathlib.Path('older')\n"
    falling = MODERN_ONLY.replace('== "server/discover"', '== "server/discover" and not older.exists()')
    # The gateway asks what it is first, then comes the client's own question.
    falling += "    if message['id'] == 2:\n        older.touch()\n        break\n"
    argv = (sys.executable, "-c", older + falling)
    async with stand(argv=argv, working_directory=str(tmp_path)) as (client, _other, proxy):
        assert "result" in (await modern_post(client, request("server/discover", 1))).json()
        await until(lambda: proxy.upstream.open_channels == 0)
        answer = await modern_post(client, request("tools/list", 2))
    assert answer.json()["error"]["data"]["code"] == "era_not_spoken"
    assert [one.rule_id for one in proxy.records[-1].findings] == ["MCP-ERA-001"]


async def test_E_06_a_legacy_client_of_a_modern_process_is_told_the_versions_that_it_speaks() -> None:
    async with stand(argv=(sys.executable, "-c", MODERN_ONLY)) as (client, _other, proxy):
        body = request("initialize", 5, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c"})
        answer = await client.post(body)
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["id"], error["code"]) == (400, 5, -32022)
    assert (error["data"]["supported"], error["data"]["requested"]) == (["2026-07-28"], "2025-06-18")
    assert "bridge" in error["data"]["remediation"]
    assert proxy.records[-1].error_code == "era_not_spoken"


async def test_P_04_principals_do_not_share_a_process() -> None:
    async with stand("modern") as (client, other, proxy):
        first = json.loads((await modern_post(client, calling("who"))).json()["result"]["content"][0]["text"])
        second = json.loads((await modern_post(other, calling("who"))).json()["result"]["content"][0]["text"])
        assert proxy.upstream.open_channels == 2
    assert first["pid"] != second["pid"]


async def test_P_04_late_progress_and_a_second_answer_are_dropped() -> None:
    async with stand("modern") as (client, _other, _proxy):
        late = calling("late", 1)
        late["params"]["_meta"] = held("")["params"]["_meta"]
        answer = await modern_post(client, late)
        after = await modern_post(client, calling("echo", 1, text="clean"))
    said = answer.json() if answer.headers["content-type"] == "application/json" else messages_of(answer.text)[-1]
    assert said["result"]["content"][0]["text"] == "done"
    assert "99" not in answer.text
    assert after.json()["result"]["content"][0]["text"] == "clean"


async def test_M_13_leaving_a_modern_call_cancels_it_in_the_process() -> None:
    async with stand("modern") as (client, _other, proxy):
        leaving = asyncio.create_task(modern_post(client, calling("hang", "h")))
        await until(lambda: any(seat.conversation and seat.conversation.busy for seat in proxy.upstream._seats))
        leaving.cancel()

        async def cancelled() -> bool:
            seen = json.loads((await modern_post(client, calling("seen"))).json()["result"]["content"][0]["text"])
            hanging = [one["id"] for one in seen if one.get("params", {}).get("name") == "hang"]
            named = [one["params"]["requestId"] for one in seen if one["method"] == "notifications/cancelled"]
            return bool(named) and named == hanging

        await until(cancelled)


async def test_L_11_a_cancellation_names_the_request_as_the_process_knows_it() -> None:
    async with stand() as (client, _other, proxy):
        session = await client.initialize()
        hanging = asyncio.create_task(client.post(calling("hang", "mine"), session=session))
        await until(lambda: any(seat.conversation.busy for seat in proxy.upstream._seats))
        await client.post(notification("notifications/cancelled", requestId="mine", reason="no"), session=session)
        unknown = notification("notifications/cancelled", requestId="never")
        assert (await client.post(unknown, session=session)).status_code == 202
        seen = json.loads(await call(client, session, "seen"))
        hanging.cancel()
    (asked,) = [one["id"] for one in seen if one.get("params", {}).get("name") == "hang"]
    cancellations = [one["params"] for one in seen if one["method"] == "notifications/cancelled"]
    assert cancellations == [{"requestId": asked, "reason": "no"}]


async def test_L_11_leaving_a_legacy_call_cancels_nothing() -> None:
    async with stand() as (client, _other, proxy):
        session = await client.initialize()
        leaving = asyncio.create_task(client.post(calling("hang"), session=session))
        await until(lambda: any(seat.conversation.busy for seat in proxy.upstream._seats))
        leaving.cancel()
        await proxy.wait_for_records(2)
        seen = json.loads(await call(client, session, "seen"))
    assert not [one for one in seen if one["method"] == "notifications/cancelled"]


async def test_E_03_a_legacy_process_sees_nothing_but_server_discover_of_a_modern_client(tmp_path) -> None:
    witness = tmp_path / "lines"
    refusal = '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}'
    script = (
        f"import sys\nfor line in sys.stdin:\n open({str(witness)!r}, 'a').write(line)\n print({refusal!r}, flush=True)"
    )
    async with stand(argv=(sys.executable, "-c", script)) as (client, _other, _proxy):
        answer = await modern_post(client, calling("who"))
        again = await modern_post(client, calling("who"))
    assert (answer.status_code, again.status_code) == (400, 400)
    assert [json.loads(line)["method"] for line in witness.read_text().splitlines()] == ["server/discover"]


async def test_E_03_silence_on_server_discover_is_a_legacy_server(monkeypatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstreams.channelled.DISCOVER_SECONDS", 0.3)
    async with stand("silent") as (client, _other, proxy):
        answer = await modern_post(client, calling("who"))
        session = await client.initialize()
        assert await call(client, session, "echo", text="legacy") == "legacy"
        assert proxy.upstream.problem == ""
    assert answer.status_code == 400


async def test_M_14_a_listen_stream_carries_the_clients_own_subscription_id() -> None:
    body = request("subscriptions/listen", "sub", notifications={"toolsListChanged": True})
    async with (
        stand("modern") as (client, _other, _proxy),
        client.http.stream("POST", "/mcp", **modern(body)) as answer,
    ):
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if "list_changed" in text:
                break
    acknowledged, changed = messages_of(text)
    key = "io.modelcontextprotocol/subscriptionId"
    assert acknowledged["params"]["_meta"][key] == changed["params"]["_meta"][key] == "sub"


async def test_L_08_what_nobody_has_heard_waits_for_the_stream_of_the_session() -> None:
    async with stand() as (client, _other, _proxy):
        session = await client.initialize()
        assert await call(client, session, "later") == "soon"
        headers = {"accept": "text/event-stream", "mcp-session-id": session}
        async with client.http.stream("GET", "/mcp", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert (await next_message(lines))["method"] == "notifications/tools/list_changed"
            # With the stream open, changes come there and not in the call that happens to be open.
            assert await call(client, session, "announce") == "announced"
            assert (await next_message(lines))["method"] == "notifications/tools/list_changed"


async def test_L_12_a_request_of_the_process_is_answered_through_the_call_that_is_open() -> None:
    async with stand() as (client, _other, _proxy):
        session = await client.initialize(capabilities={"roots": {}})
        body = json.dumps(calling("ask", 9))
        headers = {
            "content-type": "application/json", "accept": "application/json, text/event-stream", "mcp-session-id": session,
        }  # fmt: skip
        async with client.http.stream("POST", "/mcp", content=body, headers=headers) as answer:
            text, asked = "", False
            async for piece in answer.aiter_text():
                text += piece
                if "roots/list" in text and not asked:
                    asked = True
                    await client.post({"jsonrpc": "2.0", "id": "q-1", "result": {"roots": []}}, session=session)
    question, result = messages_of(text)
    assert (question["id"], question["method"]) == ("q-1", "roots/list")
    assert json.loads(result["result"]["content"][0]["text"]) == {"roots": []}


async def test_L_07_a_batch_is_sent_one_by_one_and_answered_together() -> None:
    async with stand() as (client, _other, _proxy):
        session = await client.initialize("2025-03-26")
        answer = await client.post([calling("echo", 1, text="a"), calling("echo", 2, text="b")], session=session)
    messages = messages_of(answer.text)
    assert {message["id"]: message["result"]["content"][0]["text"] for message in messages} == {1: "a", 2: "b"}


async def test_G_11_a_call_that_takes_too_long_is_given_up_and_cancelled() -> None:
    async with stand(limits=Limits(total_timeout_seconds=0.5)) as (client, _other, _proxy):
        session = await client.initialize()
        answer = await client.post(calling("hang"), session=session)
        seen = json.loads(await call(client, session, "seen"))
    assert answer.status_code == 504
    assert [one["method"] for one in seen][-2:] == ["notifications/cancelled", "tools/call"]
