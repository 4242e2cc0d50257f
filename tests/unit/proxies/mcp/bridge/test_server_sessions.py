"""Sessions with a legacy server: shared by equal clients, bounded, ended when nobody uses them (E-05)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxies.mcp.bridge import server_sessions as server_sessions_module
from proxies.mcp.bridge.leg import ServerLeg
from proxies.mcp.bridge.server_sessions import IDLE_SECONDS, ServerSessions
from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer
from proxies.transport.errors import UpstreamBusy, UpstreamError, UpstreamUnreachable


class Server:
    """Answers initialize and keeps what it was asked."""

    base_path = ""
    problem = ""

    def __init__(self, version: str = "2025-11-25", goodbye: Exception | None = None) -> None:
        self.version = version
        self.goodbye = goodbye
        self.seen: list[str] = []
        self.ended: list[list[tuple[str, str]]] = []

    async def request(self, method: str, _target: str, headers: Any, body: bytes, **_kwargs: Any) -> Any:
        message = json.loads(body) if body else {}
        self.seen.append(message.get("method", method))
        if method == "DELETE":
            self.ended.append(headers)
        if method == "DELETE" and self.goodbye is not None:
            raise self.goodbye
        if message.get("method") != "initialize":
            return StatusAnswer(202)
        result = {"protocolVersion": self.version, "capabilities": {}, "serverInfo": {}}
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        return JSONAnswer(200, body, [("mcp-session-id", f"s{len(self.seen)}")])

    def forget(self, session_id: str) -> None: ...

    async def aclose(self) -> None: ...


class SlowServer(Server):
    """Lets others ask before it answers."""

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return await super().request(*args, **kwargs)


def sessions(server: Server, now: list[float]) -> ServerSessions:
    return ServerSessions(ServerLeg(server, max_answer_bytes=10_000), clock=lambda: now[0])


async def test_E_05_equal_clients_share_a_session_and_idle_ones_end() -> None:
    now, server = [0.0], Server(goodbye=UpstreamUnreachable("gone"))
    known = sessions(server, now)
    one = await known.session([], "a", {}, None)
    same = await known.session([], "a", {}, None)
    busy = await known.session([], "a", {"roots": {}}, {"name": "c"})
    busy.busy = 1
    assert one is same is not busy
    assert [one.next_id(), one.next_id()] == [1, 2]
    now[0] = IDLE_SECONDS + 1
    await known.session([], "b", {}, None)
    await known.settle(5)
    assert len(known) == 2
    assert server.seen.count("DELETE") == 1


async def test_E_05_at_the_bound_the_oldest_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sessions_module, "MAX_SESSIONS", 1)
    server = Server()
    known = sessions(server, [0.0])
    await known.session([], "a", {}, None)
    await known.session([], "b", {}, None)
    known.close()
    await known.settle(5)
    assert len(known) == 0
    assert server.seen.count("DELETE") == 2


async def test_E_05_one_principal_does_not_end_the_sessions_of_others_nor_what_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_sessions_module, "MAX_SESSIONS_PER_PRINCIPAL", 2)
    server = Server()
    known = sessions(server, [0.0])
    other = await known.session([], "b", {}, None)
    first = await known.session([], "a", {"experimental": {"n": 1}}, None)
    first.busy = 1
    for number in range(2, 6):
        await known.session([("x-key", "a")], "a", {"experimental": {"n": number}}, None)
    assert await known.session([], "b", {}, None) is other
    assert await known.session([], "a", {"experimental": {"n": 1}}, None) is first
    last = await known.session([], "a", {"experimental": {"n": 5}}, None)
    last.busy = 1
    with pytest.raises(UpstreamBusy):
        await known.session([], "a", {"experimental": {"n": 6}}, None)
    assert len(known) == 3


async def test_E_05_sessions_that_are_opened_at_once_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sessions_module, "MAX_SESSIONS_PER_PRINCIPAL", 3)
    known = sessions(SlowServer(), [0.0])
    asked = [known.session([], "a", {"experimental": {"n": number}}, None) for number in range(8)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, UpstreamBusy) for one in outcomes) == 5
    assert len(known) == 3


async def test_E_05_a_session_is_ended_with_the_credential_of_its_own_principal() -> None:
    server, now = Server(), [0.0]
    known = sessions(server, now)
    await known.session([("x-key", "a"), ("traceparent", "00-aa-bb-01")], "a", {}, None)
    now[0] = IDLE_SECONDS + 1
    await known.session([("x-key", "b")], "b", {}, None)
    await known.settle(5)
    (ended,) = server.ended
    assert ("x-key", "a") in ended
    assert "traceparent" not in dict(ended)


async def test_L_05_a_server_that_chooses_an_unknown_version_is_refused() -> None:
    with pytest.raises(UpstreamError, match="version"):
        await sessions(Server("1999-01-01"), [0.0]).session([], "a", {}, None)
