"""The client that the suite starts: `direct|gateway URL`, with the scenario and its revision in the environment.

It drives the official client through what the scenario asks for; with `gateway`, a proxy of ours is started in this
process, and the client speaks to that.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import mcp.types as types
from mcp import Client

from tests.mcp_rules import small_ruleset
from tests.proxy_harness import running_proxy

MODERN = "2026-07-28"
Script = Callable[[Client], Awaitable[None]]


async def call_every_tool(client: Client) -> None:
    """List the tools and call each with arguments made from its schema."""
    for tool in (await client.list_tools()).tools:
        await client.call_tool(tool.name, example(tool.input_schema))


async def use_everything(client: Client) -> None:
    """Tools, resources and prompts: list them and use the first of each."""
    await call_every_tool(client)
    for resource in (await client.list_resources()).resources[:1]:
        await client.read_resource(str(resource.uri))
    for prompt in (await client.list_prompts()).prompts[:1]:
        await client.get_prompt(prompt.name, {})


async def call_as_told(client: Client) -> None:
    """The calls that the suite lists in its context."""
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


async def give_the_schema_back(client: Client) -> None:
    """Call the echo with the schema of the other tool."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    echo = next(name for name in tools if name != "json_schema_2020_12_tool")
    await client.call_tool(echo, {"schema": tools["json_schema_2020_12_tool"].input_schema})


async def list_only(client: Client) -> None:
    """List the tools."""
    await client.list_tools()


SCRIPTS: dict[str, Script] = {
    "initialize": list_only,
    "request-metadata": list_only,
    "json-schema-ref-no-deref": list_only,
    "http-standard-headers": use_everything,
    "http-custom-headers": call_as_told,
    "json-schema-2020-12-preservation": give_the_schema_back,
}
"""What to do in a scenario, where it is not to call every tool."""


def example(schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments for the required properties of a schema."""
    values = {"string": "eu-1", "number": 2, "integer": 2, "boolean": True, "object": {}, "array": [], "null": None}
    properties = schema.get("properties", {})
    return {name: values[properties.get(name, {}).get("type", "string")] for name in schema.get("required", [])}


async def accept_defaults(_context: Any, params: Any) -> types.ElicitResult:
    """Fill in the form as it is, and tick what has no default."""
    properties = (params.requested_schema or {}).get("properties", {})
    return types.ElicitResult(
        action="accept", content={name: one.get("default", True) for name, one in properties.items()}
    )


async def sample(_context: Any, _params: Any) -> types.CreateMessageResult:
    """Say something."""
    text = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=text, model="none")


async def roots(_context: Any) -> types.ListRootsResult:
    """Offer nothing."""
    return types.ListRootsResult(roots=[])


async def main(way: str, url: str) -> None:
    """Connect and run the script of the scenario."""
    script = SCRIPTS.get(os.environ["MCP_CONFORMANCE_SCENARIO"], call_every_tool)
    mode = "auto" if os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == MODERN else "legacy"
    async with AsyncExitStack() as stack:
        if way == "gateway":
            proxy = await stack.enter_async_context(running_proxy(type="mcp", target_url=url, ruleset=small_ruleset()))
            url = f"{proxy.url}/mcp"
        client = await stack.enter_async_context(
            Client(
                url,
                mode=mode,
                elicitation_callback=accept_defaults,
                sampling_callback=sample,
                list_roots_callback=roots,
            )
        )
        await script(client)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
