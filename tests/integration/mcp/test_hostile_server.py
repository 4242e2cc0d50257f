"""A hostile server: what the client sees of every trick, and that the next call is served as if nothing had happened."""

from __future__ import annotations

import json
import resource
from typing import Any

import httpx
import pytest

from proxies.contract import Limits, MCPControl, MCPSettings
from tests.mcp_control import ControlConsole, accept_all, named
from tests.mcp_hostile import CALL_TRICKS, SECRET, HostileServer, ListTrick
from tests.mcp_wire import Wire, messages_of, request, wire

SHORT = Limits(first_byte_timeout_seconds=1.0, idle_timeout_seconds=1.0)
ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])
MAX_GROWTH_KIB = 150 * 1024
"""Far below what the largest trick would need if it were unfolded or kept."""

FAILS = -32012
"""The code for an upstream that failed."""
EXPECTED = {
    "bad_json": FAILS,
    "bad_json_event": FAILS,
    "bad_utf8": FAILS,
    "duplicate_keys": FAILS,
    "deep": FAILS,
    "not_json_rpc": FAILS,
    "html": FAILS,
    "huge_event": FAILS,
    "huge_line": FAILS,
    "foreign_id": FAILS,
    "redirect": FAILS,
    "error_page": FAILS,
    "challenge": FAILS,
    "gzip_bomb": FAILS,
    "drip": FAILS,
    "silence": FAILS,
    "cut": FAILS,
}
"""What the client of both eras reads as the error of its call."""


async def call(ends: Wire, session: str | None, name: str) -> httpx.Response:
    body = request("tools/call", 1, name=name)
    return await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))


def messages(answer: httpx.Response) -> list[dict[str, Any]]:
    return (
        messages_of(answer.text) if answer.text.startswith(("event", "id", ":", "data")) else [json.loads(answer.text)]
    )


@ERAS
@pytest.mark.parametrize("trick", EXPECTED)
async def test_I_13_a_trick_of_the_server_is_an_error_of_the_call_and_nothing_else(trick: str, era: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with wire(HostileServer(), limits=SHORT) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        tricked = await call(ends, session, trick)
        after = await call(ends, session, "honest")
    (error,) = messages(tricked)
    assert (error["id"], error["error"]["code"]) == (1, EXPECTED[trick])
    assert SECRET not in tricked.text + str(tricked.headers.raw)
    assert "location" not in tricked.headers
    assert "www-authenticate" not in tricked.headers
    assert messages(after)[-1]["result"]["content"] == [{"type": "text", "text": "well"}]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB


@ERAS
async def test_every_trick_has_its_test(era: str) -> None:
    tested_apart = {"honest", "request_on_stream", "answers_twice", "unknown_notification"}
    assert CALL_TRICKS.keys() - EXPECTED.keys() == tested_apart


async def test_M_12_a_request_on_a_modern_stream_fails_the_call() -> None:
    async with wire(HostileServer()) as ends:
        tricked = await call(ends, None, "request_on_stream")
        after = await call(ends, None, "honest")
    (error,) = messages(tricked)
    assert error["error"]["code"] == FAILS
    assert "result" in messages(after)[0]


async def test_L_12_a_request_that_a_legacy_client_did_not_declare_does_not_reach_it() -> None:
    async with wire(HostileServer()) as ends:
        session = await ends.client.initialize()
        tricked = await call(ends, session, "request_on_stream")
        await ends.upstream.wait_for_requests(3)
    assert [one["id"] for one in messages(tricked)] == [1]
    refusal = json.loads(ends.upstream.requests[-1].body)
    assert (refusal["id"], refusal["error"]["code"]) == (99, -32601)


@ERAS
async def test_a_second_answer_and_an_unknown_notification_do_not_pass(era: str) -> None:
    async with wire(HostileServer()) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        for trick in ("answers_twice", "unknown_notification"):
            tricked = await call(ends, session, trick)
            assert [one["id"] for one in messages(tricked)] == [1]
            assert SECRET not in tricked.text


async def listed(ends: Wire, session: str | None) -> tuple[list[str], dict[str, Any]]:
    body = request("tools/list", 5)
    answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    (message,) = messages(answer)
    return named(message.get("result", {}).get("tools", [])), message


@ERAS
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ("rug_pull", ["add"]),
        ("duplicates", ["good"]),
        ("bad_header", ["good"]),
        ("not_a_list", []),
    ],
)
async def test_T_05_and_M_05_a_list_that_lies_offers_what_is_sound_in_it(
    lists: ListTrick, expected: list[str], era: str
) -> None:
    if (lists, era) == ("bad_header", "legacy"):
        expected = ["bad", "good"]  # The annotation means nothing there.
    console = ControlConsole(judge=accept_all)
    async with wire(HostileServer(lists), console=console.take, mcp=MCPSettings(control=MCPControl())) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize() if era == "legacy" else None
        names, _message = await listed(ends, session)
        after = await call(ends, session, "honest")
    assert names == expected
    assert after.status_code == 200


@ERAS
async def test_T_01_a_rug_pull_takes_the_tool_out_of_the_list_before_a_client_sees_it(era: str) -> None:
    console = ControlConsole()
    console.judge = lambda observation: accept_all(observation) if len(console.observations) == 1 else None
    server = HostileServer("rug_pull")
    async with wire(server, console=console.take, mcp=MCPSettings(control=MCPControl())) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize() if era == "legacy" else None
        seen: list[list[str]] = []
        while server.listed < 3:
            names, message = await listed(ends, session)
            seen.append(names)
            assert "id_rsa" not in json.dumps(message)
        seen.append((await listed(ends, session))[0])
        body = request("tools/call", 9, name="add")
        refused = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
    assert seen[0] == ["add"]
    assert seen[-1] == []
    assert messages(refused)[0]["error"]["message"] == "Unknown tool: add"


@ERAS
@pytest.mark.parametrize("lists", ["cursor_loop", "endless_pages"])
async def test_T_06_a_list_without_end_is_bounded(lists: ListTrick, era: str) -> None:
    console = ControlConsole(judge=accept_all)
    server = HostileServer(lists)
    async with wire(server, console=console.take, mcp=MCPSettings(control=MCPControl())) as ends:
        console.attach(ends.proxy)
        session = await ends.client.initialize() if era == "legacy" else None
        _names, message = await listed(ends, session)
    assert "nextCursor" not in message.get("result", {})
    assert server.listed < 1000
