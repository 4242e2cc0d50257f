"""The client of `fastmcp` with what every peer does: URL KEY MODE; prints what it saw as JSON."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport


async def accept(message, response_type, params, context):
    names = params.requested_schema["properties"]
    values = {"username": "zoe", "email": "zoe@example.com", "name": "zoe"}
    return {name: values[name] for name in names}


async def sample(messages, params, context):
    return "Paris"


async def main(url, key, mode):
    seen = {"progress": []}

    async def note(progress, total, message):
        seen["progress"].append(progress)

    async def text(name, arguments=None, **options):
        return (await client.call_tool(name, arguments or {}, **options)).content[0].text

    transport = StreamableHttpTransport(url, headers={"Authorization": f"Bearer {key}"})
    async with Client(transport, mode=mode, elicitation_handler=accept, sampling_handler=sample) as client:
        seen["tools"] = sorted(tool.name for tool in await client.list_tools())
        seen["text"] = await text("test_simple_text")
        await text("test_tool_with_progress", progress_handler=note)
        if mode == "legacy":
            seen["elicited"] = await text("test_elicitation", {"message": "Who?"})
            seen["sampled"] = await text("test_sampling", {"prompt": "Capital?"})
        else:
            seen["elicited"] = await text("test_input_required_result_elicitation")
            seen["sampled"] = await text("test_input_required_result_sampling")
        seen["large"] = len(await text("test_large_result", {"kilobytes": 900}))
        seen["resource"] = (await client.read_resource("test://static-text"))[0].text
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        seen["prompt"] = prompt.messages[0].content.text
        try:
            await client.call_tool("test_slow", {}, timeout=1)
        except Exception:
            seen["gave_up"] = True
        seen["after"] = await text("test_simple_text")
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:4]))
