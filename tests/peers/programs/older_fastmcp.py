"""The client of `fastmcp` over HTTP+SSE: TRANSPORT URL KEY; prints what it saw as JSON."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport


async def accept(message, response_type, params, context):
    return {"username": "zoe", "email": "zoe@example.com"}


async def main(_transport, url, key):
    seen = {"progress": []}

    async def note(progress, total, message):
        seen["progress"].append(progress)

    async def text(name, arguments=None, **options):
        return (await client.call_tool(name, arguments or {}, **options)).content[0].text

    transport = SSETransport(url, headers={"Authorization": f"Bearer {key}"})
    async with Client(transport, mode="legacy", elicitation_handler=accept) as client:
        seen["tools"] = [tool.name for tool in await client.list_tools()]
        seen["text"] = await text("test_simple_text")
        await text("test_tool_with_progress", progress_handler=note)
        seen["elicited"] = await text("test_elicitation", {"message": "Who?"})
        seen["large"] = len(await text("test_large_result", {"kilobytes": 900}))
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:4]))
