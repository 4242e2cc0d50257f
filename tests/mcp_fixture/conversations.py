"""Tools that talk to their client while they run: progress, log lines, sampling, elicitation, a stream that is closed."""

import asyncio
import json
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ElicitResult,
    SamplingMessage,
    TextContent,
)

STEP_SECONDS = 0.05

DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}


def _titled(word: str) -> list[dict[str, str]]:
    return [
        {"const": f"value{number}", "title": f"{place} {word}"}
        for number, place in enumerate(("First", "Second", "Third"), start=1)
    ]


ENUMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": _titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("Choice")}},
    },
    "required": [],
}


def add_conversation_tools(server: MCPServer) -> None:
    """Register them."""

    @server.tool(structured_output=False)
    async def test_tool_with_logging(ctx: Context) -> str:
        """Says three things while it runs."""
        for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.request_context.session.send_log_message(
                level="info", data=line, related_request_id=ctx.request_id
            )
            await asyncio.sleep(STEP_SECONDS)
        return "Tool with logging executed successfully"

    @server.tool(structured_output=False)
    async def test_logging_tool(ctx: Context) -> str:
        """Says one thing, which only a client that asked for it may hear."""
        await ctx.request_context.session.send_log_message(
            level="info", data="one line", related_request_id=ctx.request_id
        )
        return "said"

    @server.tool(structured_output=False)
    async def test_tool_with_progress(ctx: Context) -> str:
        """Reports how far it is."""
        for progress in (0, 50, 100):
            await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
            await asyncio.sleep(STEP_SECONDS)
        return "Tool with progress executed successfully"

    @server.tool(structured_output=False)
    async def test_slow(ctx: Context, seconds: float = 30.0) -> str:
        """Reports its start and then takes its time, so that a client can cancel it or leave."""
        await ctx.report_progress(0, 1, "started")
        await asyncio.sleep(seconds)
        return "Slept."

    @server.tool(structured_output=False)
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Has the client's model answer a prompt."""
        answer = await ctx.session.create_message(
            [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))],
            max_tokens=100,
            related_request_id=ctx.request_id,
        )
        return f"LLM response: {getattr(answer.content, 'text', '')}"

    @server.tool(structured_output=False)
    async def test_missing_capability(ctx: Context) -> str:
        """Needs a client that can sample."""
        capabilities = ctx.client_capabilities
        if capabilities is None or capabilities.sampling is None:
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="This tool needs the sampling capability",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "The client can sample."

    @server.tool(structured_output=False)
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Asks the user two things."""
        schema = {
            "type": "object",
            "properties": {
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            },
            "required": ["username", "email"],
        }
        return f"User response: {_said(await _ask(ctx, message, schema))}"

    @server.tool(structured_output=False)
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Asks with a default of every primitive type."""
        return f"Elicitation completed: {_said(await _ask(ctx, 'Please review the values', DEFAULTS))}"

    @server.tool(structured_output=False)
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Asks with every form of choice."""
        return f"Elicitation completed: {_said(await _ask(ctx, 'Please choose', ENUMS))}"

    @server.tool(structured_output=False)
    async def test_reconnection(ctx: Context) -> str:
        """Closes the stream before the answer is there: the client has to come back for it."""
        await ctx.close_sse_stream()
        await asyncio.sleep(2 * STEP_SECONDS)
        return "Reconnection test completed successfully."

    @server.tool(structured_output=False)
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Tells everybody who listens that the tools have changed."""
        await ctx.notify_tools_changed()
        return "announced"

    @server.tool(structured_output=False)
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Tells everybody who listens that the prompts have changed."""
        await ctx.notify_prompts_changed()
        return "announced"


async def _ask(ctx: Context, message: str, schema: dict[str, Any]) -> ElicitResult:
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        raise ToolError("The client cannot ask its user anything")
    return await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)


def _said(answer: ElicitResult) -> str:
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"
