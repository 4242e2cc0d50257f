"""A client of the 1.x line of the official SDK, which still has a WebSocket transport: TRANSPORT URL KEY.

It runs with an interpreter of its own, in whose environment `mcp[ws]` 1.x is installed, and prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def connect(transport: str, url: str, key: str) -> Any:
    """The two streams of a transport. Its WebSocket client can send no headers, so `key` is empty there."""
    if transport == "sse":
        from mcp.client.sse import sse_client

        async with sse_client(f"{url}/sse", headers={"authorization": f"Bearer {key}"}) as streams:
            yield streams
    elif transport == "http":
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(f"{url}/mcp", headers={"authorization": f"Bearer {key}"}) as streams:
            yield streams[:2]
    else:
        from mcp.client.websocket import websocket_client

        async with websocket_client(url.replace("http", "ws") + "/ws") as streams:
            yield streams


async def main(transport: str, url: str, key: str) -> None:
    """List, call with progress, answer a question, cancel nothing, leave."""
    from mcp import ClientSession, types

    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async def elicit(_context: Any, _params: Any) -> Any:
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with (
        connect(transport, url, key) as (read, write),
        ClientSession(read, write, elicitation_callback=elicit) as session,
    ):
        initialized = await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        added = await session.call_tool("add", {"a": 2, "b": 3})
        counted = await session.call_tool("slow", {"steps": 3}, progress_callback=progress)
        asked = await session.call_tool("ask_either", {})
    texts = [result.content[0].text for result in (added, counted, asked)]
    print(json.dumps({"version": initialized.protocolVersion, "tools": tools, "texts": texts, "progress": seen}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
