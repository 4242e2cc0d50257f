"""Tools and a prompt of the modern era that need input from the client's side and get it with the next request (M-15)."""

from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

Answer = str | InputRequiredResult


def form(message: str, **properties: str) -> ElicitRequest:
    """A question with one required field for each name, of the given type."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": type} for name, type in properties.items()},
        "required": list(properties),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def question(text: str, max_tokens: int) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def given(ctx: Context, key: str, kind: type) -> Any:
    """The response under a key where it is of the right kind."""
    response = (ctx.input_responses or {}).get(key)
    return response if isinstance(response, kind) else None


def field(ctx: Context, key: str, name: str) -> Any:
    """What the user entered, or None."""
    response = given(ctx, key, ElicitResult)
    return (response.content or {}).get(name) if response is not None else None


def add_input_required_tools(server: MCPServer) -> None:
    """Register them."""
    needs = InputRequiredResult

    @server.tool(structured_output=False)
    async def test_input_required_result_elicitation(ctx: Context) -> Answer:
        """Asks for a name and greets it."""
        name = field(ctx, "user_name", "name")
        if name is None:
            return needs(input_requests={"user_name": form("What is your name?", name="string")})
        return f"Hello, {name}!"

    @server.tool(structured_output=False)
    async def test_input_required_result_sampling(ctx: Context) -> Answer:
        """Has the client's model name a capital."""
        answer = (ctx.input_responses or {}).get("capital_question")
        if answer is None:
            return needs(input_requests={"capital_question": question("What is the capital of France?", 100)})
        return f"The model said: {getattr(getattr(answer, 'content', None), 'text', '')}"

    @server.tool(structured_output=False)
    async def test_input_required_result_list_roots(ctx: Context) -> Answer:
        """Asks which roots the client offers."""
        answer = given(ctx, "client_roots", ListRootsResult)
        if answer is None:
            return needs(input_requests={"client_roots": ListRootsRequest()})
        return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)

    @server.tool(structured_output=False)
    async def test_input_required_result_request_state(ctx: Context) -> Answer:
        """Asks for a confirmation and expects its state back."""
        if field(ctx, "confirm", "ok") is None or ctx.request_state != "asked":
            return needs(input_requests={"confirm": form("Please confirm", ok="boolean")}, request_state="asked")
        return "state-ok"

    @server.tool(structured_output=False)
    async def test_input_required_result_tampered_state(ctx: Context) -> Answer:
        """Asks for a confirmation; the SDK refuses a state that is not its own."""
        if field(ctx, "confirm", "ok") is None:
            return needs(input_requests={"confirm": form("Please confirm", ok="boolean")}, request_state="asked")
        return "state-ok"

    @server.tool(structured_output=False)
    async def test_input_required_result_multiple_inputs(ctx: Context) -> Answer:
        """Asks three things of three kinds at once."""
        requests = {
            "user_name": form("What is your name?", name="string"),
            "greeting": question("Generate a greeting", 50),
            "client_roots": ListRootsRequest(),
        }
        if set(requests) - set(ctx.input_responses or {}):
            return needs(input_requests=requests, request_state="asked")
        return f"Thank you, {field(ctx, 'user_name', 'name')}."

    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context) -> Answer:
        """Asks twice, the second time with a new state."""
        if ctx.request_state is None:
            return needs(input_requests={"step1": form("Step 1: what is your name?", name="string")}, request_state="1")
        if ctx.request_state == "1":
            asked = {"step2": form("Step 2: what is your favourite colour?", color="string")}
            return needs(input_requests=asked, request_state="2")
        return f"Both rounds are done: {field(ctx, 'step2', 'color')}"

    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context) -> Answer:
        """Asks only what the client says it can answer."""
        if ctx.input_responses:
            return "Thank you."
        can = ctx.client_capabilities
        requests: dict[str, Any] = {}
        if can is not None and can.sampling is not None:
            requests["capital_question"] = question("What is the capital of France?", 100)
        if can is not None and can.elicitation is not None:
            requests["user_name"] = form("What is your name?", name="string")
        if can is not None and can.roots is not None:
            requests["client_roots"] = ListRootsRequest()
        return needs(input_requests=requests) if requests else "The client can answer nothing."

    @server.tool(structured_output=False)
    async def test_streaming_elicitation(ctx: Context) -> Answer:
        """Reports progress and then asks, on a stream that must not hold a request."""
        await ctx.report_progress(0, 1, "asking")
        if ctx.input_responses:
            return "Thank you."
        return needs(input_requests={"user_name": form("What is your name?", name="string")})

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | InputRequiredResult:
        """A prompt that asks what it is about."""
        context = field(ctx, "user_context", "context")
        if context is None:
            asked = {"user_context": form("What context should the prompt use?", context="string")}
            return needs(input_requests=asked)
        return [UserMessage(f"Context: {context}")]
