"""The client of `mcp` 2.3 with what every peer does: URL KEY MODE; prints what it saw as JSON."""

import asyncio
import json
import sys

import httpx2
import mcp.types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


async def accept(_context, params):
    names = params.requested_schema["properties"]
    values = {"username": "zoe", "email": "zoe@example.com", "name": "zoe"}
    return types.ElicitResult(action="accept", content={name: values[name] for name in names})


async def sample(_context, params):
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="Paris"), model="none"
    )


async def main(url, key, mode):
    seen = {"progress": []}

    async def note(progress, total, message):
        seen["progress"].append(progress)

    async def text(name, arguments=None, **options):
        return (await client.call_tool(name, arguments or {}, **options)).content[0].text

    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=accept, sampling_callback=sample) as client:
            seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
            seen["text"] = await text("test_simple_text")
            await text("test_tool_with_progress", progress_callback=note)
            if client.protocol_version >= "2026":
                seen["elicited"] = await text("test_input_required_result_elicitation")
                seen["sampled"] = await text("test_input_required_result_sampling")
            else:
                seen["elicited"] = await text("test_elicitation", {"message": "Who?"})
                seen["sampled"] = await text("test_sampling", {"prompt": "Capital?"})
            seen["large"] = len(await text("test_large_result", {"kilobytes": 900}))
            seen["resource"] = (await client.read_resource("test://static-text")).contents[0].text
            prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
            seen["prompt"] = prompt.messages[0].content.text
            try:
                await client.call_tool("test_slow", {}, read_timeout_seconds=1)
            except MCPError:
                seen["gave_up"] = True
            seen["after"] = await text("test_simple_text")
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:4]))
