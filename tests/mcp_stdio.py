"""A proxy in front of `stdio_server_program.py`, which it starts itself, and two clients with keys of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from proxies.contract import Limits, MCPSettings, StdioServer
from tests.mcp_rules import small_ruleset
from tests.mcp_wire import CLIENT_KEY, OTHER_KEY, MCPClient, modern, request
from tests.proxy_harness import RunningProxy, running_proxy

PROGRAM = Path(__file__).parent / "stdio_server_program.py"


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


def modern_post(client: MCPClient, body: dict[str, Any]) -> Awaitable[httpx.Response]:
    return client.http.post("/mcp", **modern(body))
