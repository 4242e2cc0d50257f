"""Servers of other people behind the gateway: what the official client sees of them is what it sees without it.

`server-everything` binds every interface by itself; `programs/loopback.mjs` makes it listen on loopback, on a free port.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from proxies.contract import MCPSettings, StdioServer
from tests.conformance.tools import NODE, PACKAGES, need
from tests.mcp_fixture.process import ROOT
from tests.proxy_harness import running_proxy

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

PROGRAMS = Path(__file__).with_name("programs")
EVERYTHING = PACKAGES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
FILESYSTEM = PACKAGES / "@modelcontextprotocol" / "server-filesystem" / "dist" / "index.js"
START_SECONDS = 30.0


@asynccontextmanager
async def everything_http() -> AsyncIterator[str]:
    """`server-everything` over Streamable HTTP; the address of its endpoint."""
    need(EVERYTHING)
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        "--import",
        str(PROGRAMS / "loopback.mjs"),
        str(EVERYTHING),
        "streamableHttp",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            async for line in process.stdout:
                if line.startswith(b"port "):
                    break
        yield f"http://127.0.0.1:{int(line.split()[1])}/mcp"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def over_http(url: str, mode: str = "legacy") -> AsyncIterator[Client]:
    """The official client in front of an address."""
    async with (
        httpx2.AsyncClient(timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(argv: tuple[str, ...]) -> AsyncIterator[Client]:
    """The official client with a server of its own."""
    with Path(os.devnull).open("w") as nowhere:
        command = StdioServerParameters(command=argv[0], args=list(argv[1:]), cwd=str(ROOT))
        async with Client(stdio_client(command, errlog=nowhere), mode="legacy") as client:
            yield client


async def use_everything(client: Client) -> dict[str, Any]:
    """What is seen of `server-everything`."""
    progress: list[float] = []

    async def note(done: float, _total: float | None, _message: str | None) -> None:
        progress.append(done)

    echoed = await client.call_tool("echo", {"message": "hi"})
    added = await client.call_tool("get-sum", {"a": 2, "b": 3})
    slow = await client.call_tool("trigger-long-running-operation", {"duration": 1, "steps": 4}, progress_callback=note)
    return {
        "tools": sorted(tool.name for tool in (await client.list_tools()).tools),
        "prompts": sorted(prompt.name for prompt in (await client.list_prompts()).prompts),
        "echoed": echoed.content[0].text,
        "added": added.content[0].text,
        "slow": slow.content[0].text,
        "progress": progress,
        "image": (await client.call_tool("get-tiny-image", {})).content[1].mime_type,
    }


async def test_server_everything_over_streamable_http_is_the_same_through_the_gateway() -> None:
    async with everything_http() as url, running_proxy(type="mcp", target_url=url) as proxy:
        async with over_http(url) as client:
            direct = await use_everything(client)
        async with over_http(f"{proxy.url}/mcp") as client:
            through = await use_everything(client)
    assert through == direct
    assert (through["echoed"], through["progress"]) == ("Echo: hi", [1, 2, 3, 4])


async def test_P_01_server_everything_started_by_the_gateway_is_the_same_as_one_that_the_client_starts() -> None:
    need(EVERYTHING)
    argv = (str(NODE), str(EVERYTHING), "stdio")
    async with behind_gateway(argv) as url:
        async with over_stdio(argv) as client:
            direct = await use_everything(client)
        async with over_http(url) as client:
            through = await use_everything(client)
    assert through == direct
    assert through["echoed"] == "Echo: hi"


async def test_P_01_server_filesystem_is_offered_as_streamable_http(tmp_path: Path) -> None:
    need(FILESYSTEM)
    folder = tmp_path.resolve()
    (folder / "note.txt").write_text("what stands in the note")
    async with behind_gateway((str(NODE), str(FILESYSTEM), str(folder))) as url, over_http(url) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        read = await client.call_tool("read_text_file", {"path": str(folder / "note.txt")})
        outside = await client.call_tool("read_text_file", {"path": "/etc/hostname"})
    assert {"read_text_file", "write_file", "list_directory"} <= names
    assert (read.content[0].text, outside.is_error) == ("what stands in the note", True)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_P_01_our_fixture_is_the_same_as_a_process_of_the_gateway(mode: str) -> None:
    argv = (sys.executable, "-m", "tests.mcp_fixture", "stdio")
    async with behind_gateway(argv, working_directory=str(ROOT)) as url, over_http(url, mode) as client:
        greeted = await client.call_tool("greet", {"name": "Zoe"})
        large = await client.call_tool("test_large_result", {"kilobytes": 900})
        read = await client.read_resource("test://static-text")
    assert greeted.content[0].text == "Hello, Zoe!"
    assert len(large.content[0].text) == 900 * 1024
    assert read.contents[0].text == "This is the content of the static text resource."


@asynccontextmanager
async def behind_gateway(argv: tuple[str, ...], **options: Any) -> AsyncIterator[str]:
    """A proxy that starts the server; the address of its endpoint."""
    pytest.importorskip("proxies.mcp.upstreams.stdio")
    settings = MCPSettings(transport="stdio", stdio=StdioServer(argv=argv, **options))
    async with running_proxy(type="mcp", target_url="", mcp=settings) as proxy:
        yield f"{proxy.url}/mcp"
