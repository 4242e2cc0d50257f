"""The client of `mcp` 1.30 with what every peer does: URL KEY; prints what it saw as JSON."""

import asyncio
import json
import sys
from datetime import timedelta

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError


async def accept(_context, params):
    return types.ElicitResult(action="accept", content={"username": "zoe", "email": "zoe@example.com"})


async def sample(_context, params):
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="Paris"), model="none"
    )


async def main(url, key):
    seen = {"progress": []}

    async def note(progress, total, message):
        seen["progress"].append(progress)

    async with (
        streamablehttp_client(url, headers={"Authorization": f"Bearer {key}"}) as (read, write, _),
        ClientSession(read, write, elicitation_callback=accept, sampling_callback=sample) as session,
    ):
        await session.initialize()
        seen["tools"] = sorted(tool.name for tool in (await session.list_tools()).tools)
        text = await session.call_tool("test_simple_text", {})
        seen["text"] = text.content[0].text
        await session.call_tool("test_tool_with_progress", {}, progress_callback=note)
        seen["elicited"] = (await session.call_tool("test_elicitation", {"message": "Who?"})).content[0].text
        seen["sampled"] = (await session.call_tool("test_sampling", {"prompt": "Capital?"})).content[0].text
        large = await session.call_tool("test_large_result", {"kilobytes": 900})
        seen["large"] = len(large.content[0].text)
        seen["resource"] = (await session.read_resource("test://static-text")).contents[0].text
        prompt = await session.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        seen["prompt"] = prompt.messages[0].content.text
        try:
            await session.call_tool("test_slow", {}, read_timeout_seconds=timedelta(seconds=1))
        except McpError:
            seen["gave_up"] = True
        seen["after"] = (await session.call_tool("test_simple_text", {})).content[0].text
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:3]))
