"""What a proxy does with a server that it starts itself: one process a session, and whatever such a process may do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from proxies.contract import Limits, MCPSettings, StdioServer
from tests.mcp_legacy_server import next_message
from tests.mcp_rules import small_ruleset
from tests.mcp_wire import CLIENT_KEY, OTHER_KEY, MCPClient, messages_of, modern, notification, request
from tests.proxy_harness import RunningProxy, running_proxy

PROGRAM = Path(__file__).parents[2] / "stdio_server_program.py"


class Stand(NamedTuple):
    client: MCPClient
    other: MCPClient
    proxy: RunningProxy


@asynccontextmanager
async def stand(*behaviours: str, limits: Limits | None = None, **server: Any) -> AsyncIterator[Stand]:
    """Two clients with keys of their own in front of the scripted server."""
    argv = server.pop("argv", (sys.executable, str(PROGRAM), *behaviours))
    settings = MCPSettings(transport="stdio", stdio=StdioServer(argv=argv, **server))
    async with (
        running_proxy(
            type="mcp",
            client_key=CLIENT_KEY,
            other_keys=(OTHER_KEY,),
            ruleset=small_ruleset(),
            mcp=settings,
            limits=limits,
        ) as proxy,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=30) as http,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=30) as other,
    ):
        yield Stand(MCPClient(http), MCPClient(other), proxy)


def calling(name: str, id: int | str = 1, **arguments: Any) -> dict[str, Any]:
    return request("tools/call", id, name=name, arguments=arguments)


async def call(client: MCPClient, session: str, name: str, **arguments: Any) -> Any:
    """The text that a tool says."""
    answer = await client.post(calling(name, **arguments), session=session)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["content"][0]["text"]


async def who(client: MCPClient, session: str) -> dict[str, Any]:
    return json.loads(await call(client, session, "who"))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what the system does on its own time."""
    async with asyncio.timeout(20):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- One process a session --------------------------------------------------------------------------------------------


async def test_P_04_every_session_has_a_process_of_its_own_which_ends_with_it() -> None:
    async with stand() as (client, other, proxy):
        first, second = await client.initialize(), await other.initialize()
        one, two = await who(client, first), await who(other, second)
        assert one["pid"] != two["pid"]
        ended = await client.http.delete("/mcp", headers={"mcp-session-id": first})
        await until(lambda: not alive(one["pid"]))

        assert ended.status_code == 204
        assert alive(two["pid"])
        assert (await client.post(calling("echo", text="a"), session=first)).status_code == 404
        assert proxy.upstream.open_channels == 1
    assert not alive(two["pid"])


async def test_P_05_the_process_sees_plain_variables_and_its_own_only(monkeypatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", "ours")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/bundle")
    monkeypatch.setenv("_PYI_ARCHIVE_FILE", "/bundle/ostiary")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    async with stand(environment={"API_TOKEN": "its-own"}) as (client, _other, _proxy):
        seen = await who(client, await client.initialize())
    assert seen["env"]["API_TOKEN"] == "its-own"
    assert seen["env"]["LC_ALL"] == "C.UTF-8"
    plain = "HOME LANG LANGUAGE LC_ALL LC_CTYPE LOGNAME PATH SHELL TMPDIR TZ USER"
    assert seen["env"].keys() <= {"API_TOKEN", "OSTIARY_WORKER", *plain.split()}


async def test_P_05_the_process_has_an_empty_directory_that_goes_with_it() -> None:
    async with stand() as (client, _other, _proxy):
        seen = await who(client, await client.initialize())
        directory = Path(seen["cwd"])
        assert directory.stat().st_mode & 0o777 == 0o700
        assert list(directory.iterdir()) == []
        assert seen["group"] == seen["pid"] != os.getpgrp()
    assert not directory.exists()


async def test_P_05_a_configured_directory_stays(tmp_path) -> None:
    async with stand(working_directory=str(tmp_path)) as (client, _other, _proxy):
        seen = await who(client, await client.initialize())
    assert seen["cwd"] == str(tmp_path)
    assert tmp_path.exists()


async def test_P_05_no_descriptor_is_inherited() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        async with stand() as (client, _other, _proxy):
            session = await client.initialize()
            assert json.loads(await call(client, session, "descriptors")) == ["0", "1", "2"]
    finally:
        os.close(read)
        os.close(write)


async def test_P_03_the_processes_are_bounded_and_the_least_recently_used_gives_way(monkeypatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstreams.seats.GRACE_SECONDS", 0.0)
    async with stand(max_processes_per_principal=3, max_processes=6) as (client, other, proxy):
        sessions = [await client.initialize() for _ in range(5)]
        foreign = await other.initialize()
        assert proxy.upstream.open_channels == 4
        statuses = [(await client.post(calling("echo", text="a"), session=one)).status_code for one in sessions]
        assert statuses == [404, 404, 200, 200, 200]
        assert await call(other, foreign, "echo", text="still here") == "still here"


async def test_P_03_a_session_with_an_open_call_does_not_give_way() -> None:
    async with stand(max_processes_per_principal=1) as (client, _other, proxy):
        session = await client.initialize()
        hanging = asyncio.create_task(client.post(calling("hang"), session=session))
        await until(
            lambda: proxy.listener.in_flight == 1 and any(seat.conversation.busy for seat in proxy.upstream._seats)
        )
        refused = await client.post(
            request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})
        )
        hanging.cancel()
        assert refused.status_code == 503
        assert refused.json()["error"]["data"]["code"] == "upstream_busy"


async def test_P_03_more_than_fifty_sessions_at_once_with_bounded_processes() -> None:
    async with stand(max_processes=12, max_processes_per_principal=12) as (client, _other, proxy):

        async def one(number: int) -> str:
            while True:  # A session that gave way is opened anew, as every client does.
                opened = await client.post(
                    request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})
                )
                if opened.status_code == 503:
                    await asyncio.sleep(0.05)
                    continue
                session = opened.headers["mcp-session-id"]
                answer = await client.post(calling("echo", text=str(number)), session=session)
                assert proxy.upstream.open_channels <= 12
                await client.http.delete("/mcp", headers={"mcp-session-id": session})
                if answer.status_code == 200:
                    return answer.json()["result"]["content"][0]["text"]

        async with asyncio.timeout(50):
            said = await asyncio.gather(*(one(number) for number in range(55)))
    assert said == [str(number) for number in range(55)]


# --- What a process may do --------------------------------------------------------------------------------------------


async def test_P_01_a_little_garbage_is_dropped_and_much_ends_the_process(caplog) -> None:
    async with stand() as (client, _other, _proxy):
        session = await client.initialize()
        pid = (await who(client, session))["pid"]
        assert await call(client, session, "garbage", lines=20) == "sorry"
        answer = await client.post(calling("garbage", lines=200), session=session)
        await until(lambda: not alive(pid))
    assert answer.status_code == 502
    assert answer.json()["error"]["data"]["code"] == "upstream_protocol_error"
    assert "not a message 1" not in answer.text
    assert sum("something that is not a message" in record.message for record in caplog.records) == 3


async def test_P_01_a_line_without_end_ends_the_process(monkeypatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstreams.stdio.MAX_LINE_BYTES", 10_000)
    async with stand() as (client, _other, _proxy):
        session = await client.initialize()
        pid = (await who(client, session))["pid"]
        answer = await client.post(calling("long", bytes=20_000), session=session)
        await until(lambda: not alive(pid))
    assert answer.status_code == 502
    assert answer.json()["error"]["data"]["code"] == "upstream_protocol_error"


async def test_P_02_standard_error_is_kept_redacted_and_limited(caplog) -> None:
    caplog.set_level("INFO")
    lines = ["plain words", "password: hunter2hunter2", "value s3cr3t-from-environment", "bell \x07", *["noise"] * 300]
    async with stand(environment={"KEY": "s3cr3t-from-environment"}) as (client, _other, proxy):
        session = await client.initialize()
        assert await call(client, session, "noise", lines=lines[:4]) == "noted"
        await until(lambda: len(proxy.upstream.log.tail) == 4)
        assert proxy.upstream.log.tail == (
            "plain words", "password: [masked]", "value [masked]", "bell \\x07",
        )  # fmt: skip
        await call(client, session, "noise", lines=lines[4:])
        await until(lambda: proxy.upstream.log.dropped > 100)
        assert len(proxy.upstream.log.tail) == 40
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "plain words" in logged
    assert "hunter2" not in logged
    assert "s3cr3t" not in logged


async def test_P_03_a_killed_process_fails_what_is_open_and_the_next_session_works() -> None:
    async with stand() as (client, _other, proxy):
        session = await client.initialize()
        pid = (await who(client, session))["pid"]
        hanging = asyncio.create_task(client.post(calling("hang", 7), session=session))
        await until(lambda: any(seat.conversation.busy for seat in proxy.upstream._seats))
        os.kill(pid, 9)
        answer = await hanging
        assert answer.status_code == 502
        error = answer.json()
        assert (error["id"], error["error"]["data"]["code"]) == (7, "upstream_ended")
        assert "SIGKILL" in error["error"]["message"]
        assert (await client.post(calling("echo", text="a"), session=session)).status_code == 404
        assert await call(client, await client.initialize(), "echo", text="again") == "again"


async def test_P_03_a_process_that_ends_in_the_middle_of_a_stream_gets_an_error_as_last_event() -> None:
    async with stand() as (client, _other, _proxy):
        session = await client.initialize()
        pid = (await who(client, session))["pid"]
        body = request("tools/call", 5, name="hold", arguments={"text": "x"}, _meta={"progressToken": "t"})
        async with client.http.stream(
            "POST", "/mcp", content=json.dumps(body), headers={
                "content-type": "application/json", "accept": "application/json, text/event-stream", "mcp-session-id": session,
            },
        ) as answer:  # fmt: skip
            text = ""
            async for piece in answer.aiter_text():
                text += piece
                if "progress" in text and pid:
                    os.kill(pid, 9)
                    pid = 0
    progress, error = messages_of(text)
    assert progress["params"] == {"progressToken": "t", "progress": 1}
    assert error["id"] == 5
    assert error["error"]["data"]["code"] == "upstream_ended"


async def test_P_03_a_deaf_process_is_killed_with_everything_that_it_started() -> None:
    async with stand("deaf") as (client, _other, _proxy):
        session = await client.initialize()
        pid = (await who(client, session))["pid"]
        grandchild = int(await call(client, session, "child"))
        assert alive(grandchild)
        await client.http.delete("/mcp", headers={"mcp-session-id": session})
        await until(lambda: not alive(pid) and not alive(grandchild))


# --- Servers that do not come up --------------------------------------------------------------------------------------

INITIALIZE = request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})


async def test_P_03_a_missing_program_is_told_to_client_and_operator_and_tried_again_later() -> None:
    async with stand(argv=("no-such-program-anywhere",)) as (client, other, proxy):
        answer = await client.post(INITIALIZE)
        again = await client.post(INITIALIZE)
        elsewhere = await other.post(INITIALIZE)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["message"] == "The MCP server cannot be started: its program is missing or not executable."
    assert error["data"]["code"] == "upstream_not_started"
    assert "It is tried again in" in again.json()["error"]["message"]
    assert "It is tried again in" not in elsewhere.json()["error"]["message"]
    assert proxy.upstream.problem == error["message"]


async def test_P_03_a_crash_at_the_start_is_told_without_the_log_to_the_client() -> None:
    async with stand("crash") as (client, _other, proxy):
        answer = await client.post(INITIALIZE)
    assert answer.status_code == 502
    assert answer.json()["error"]["message"] == "The MCP server's program ended (exit status 7)."
    assert proxy.upstream.problem == "The MCP server's program ended (exit status 7)."
    assert proxy.upstream.log.tail == ("cannot find my configuration",)
    assert proxy.records[0].reason.endswith("Its last words: cannot find my configuration")


async def test_P_03_a_server_that_hangs_at_the_start_is_given_up() -> None:
    async with stand("hang", limits=Limits(first_byte_timeout_seconds=0.3)) as (client, _other, proxy):
        answer = await client.post(INITIALIZE)
        await until(lambda: proxy.upstream.open_channels == 0)
    assert answer.status_code == 504
    assert proxy.upstream.problem == "The upstream did not answer initialize in time."


# --- Correlators ------------------------------------------------------------------------------------------------------


def modern_post(client: MCPClient, body: dict[str, Any]) -> Awaitable[httpx.Response]:
    return client.http.post("/mcp", **modern(body))


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


# --- Eras and streams -------------------------------------------------------------------------------------------------


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
