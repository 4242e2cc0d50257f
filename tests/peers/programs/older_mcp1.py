"""The client of `mcp` 1.30 over HTTP+SSE or WebSocket: TRANSPORT URL KEY; prints what it saw as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.websocket import websocket_client


async def accept(_context, params):
    return types.ElicitResult(action="accept", content={"username": "zoe", "email": "zoe@example.com"})


async def main(transport, url, key):
    seen = {"progress": []}

    async def note(progress, total, message):
        seen["progress"].append(progress)

    connect = websocket_client(url) if transport == "websocket" else sse_client(url, {"Authorization": f"Bearer {key}"})
    async with connect as (read, write), ClientSession(read, write, elicitation_callback=accept) as session:
        await session.initialize()
        seen["tools"] = [tool.name for tool in (await session.list_tools()).tools]
        seen["text"] = (await session.call_tool("test_simple_text", {})).content[0].text
        await session.call_tool("test_tool_with_progress", {}, progress_callback=note)
        seen["elicited"] = (await session.call_tool("test_elicitation", {"message": "Who?"})).content[0].text
        seen["large"] = len((await session.call_tool("test_large_result", {"kilobytes": 900})).content[0].text)
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:4]))
