"""An upstream over scripted channels, and what its tests say to it and wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from proxies.contract import Limits
from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, MODERN_VERSIONS
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.mcp.upstreams.server_log import ServerLog
from proxies.transport.errors import (
    UpstreamError,
)
from tests.unit.proxies.mcp.upstreams.scripted_channel import Script, ScriptedChannel, answer_everything

MODERN = MODERN_VERSIONS[-1]


def quiet(channel: ScriptedChannel, message: dict[str, Any]) -> None:
    """Shake hands and say nothing more by itself."""
    if message.get("method") in ("initialize", "server/discover"):
        answer_everything(channel, message)


class Bench:
    """An upstream with every channel that it has opened."""

    def __init__(self, script: Script, limits: Limits, bounds: SeatBounds, *, ours: bool, process: Any) -> None:
        self.channels: list[ScriptedChannel] = []
        self.script = script
        self.problems = 0
        self.connect_error: UpstreamError | None = None
        self.upstream = ChannelUpstream(
            self._connect,
            name="test",
            limits=limits,
            bounds=bounds,
            on_problem=self._noted,
            log=ServerLog() if ours else None,
            process=process,
        )

    async def _connect(self) -> ScriptedChannel:
        if self.connect_error is not None:
            raise self.connect_error
        self.channels.append(ScriptedChannel(self.script))
        return self.channels[-1]

    def _noted(self) -> None:
        self.problems += 1

    async def post(self, body: Any, session: str = "", *, principal: str = "key", **options: Any) -> Any:
        headers = [("mcp-session-id", session)] if session else []
        first = body[0] if type(body) is list else body
        if META_VERSION in first.get("params", {}).get("_meta", {}):
            headers.append(("mcp-protocol-version", MODERN))
        data = json.dumps(body).encode()
        return await self.upstream.request("POST", "", headers, data, principal_id=principal, **options)

    async def get(self, session: str = "", method: str = "GET", **headers: str) -> Any:
        fields = [*headers.items(), *([("mcp-session-id", session)] if session else [])]
        return await self.upstream.request(method, "", [(n.replace("_", "-"), v) for n, v in fields], b"")

    async def open(self, principal: str = "key") -> tuple[str, ScriptedChannel]:
        answer = await self.post(request("initialize", 0, protocolVersion="2025-11-25"), principal=principal)
        assert answer.status == 200
        return answer.headers.get("mcp-session-id"), self.channels[-1]


def request(method: str, id: int | str = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def modern(method: str, id: int | str = 1, **params: Any) -> dict[str, Any]:
    return request(method, id, **params, _meta={META_VERSION: MODERN, META_CAPABILITIES: {}})


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def events(answer: Any, count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found.append(json.loads((await anext(answer)).split(b"data: ")[1]))
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def begun(bench: Bench, channel: ScriptedChannel, *bodies: Any, session: str = "") -> list[asyncio.Task[Any]]:
    """Calls that have reached the server and wait."""
    before = len(channel.sent)
    tasks = [asyncio.create_task(bench.post(body, session)) for body in bodies]
    await until(lambda: len(channel.sent) == before + len(bodies))
    return tasks
