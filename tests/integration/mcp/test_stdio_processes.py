"""What becomes of a server that a proxy starts itself: one process a session, and whatever such a process may do."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from proxies.contract import Limits
from tests.mcp_stdio import alive, call, calling, stand, until, who
from tests.mcp_wire import messages_of, request

INITIALIZE = request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})


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
    assert seen["env"].keys() <= {"API_TOKEN", "OSTIARY_SERVER", "OSTIARY_WORKER", *plain.split()}


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
