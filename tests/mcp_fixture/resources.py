"""Resources, a template, prompts and completion; and what only the lower level of the SDK can register."""

import base64
import json

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    EmptyResult,
    PromptReference,
    ResourceTemplateReference,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from tests.mcp_fixture.content import RED_PIXEL_PNG, embedded, image


def add_resources(server: MCPServer) -> None:
    """Register resources and what belongs to them."""

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text that never changes."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image that never changes."""
        return base64.b64decode(RED_PIXEL_PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        """A document for each id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """A text that clients subscribe to."""
        return "Watched resource content."

    async def subscribe(_ctx: object, _params: SubscribeRequestParams) -> EmptyResult:
        return EmptyResult()

    async def unsubscribe(_ctx: object, _params: UnsubscribeRequestParams) -> EmptyResult:
        return EmptyResult()

    async def set_level(_ctx: object, _params: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    lower = server._lowlevel_server
    lower.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    lower.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    lower.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)


def add_prompts(server: MCPServer) -> None:
    """Register prompts and completion."""

    @server.prompt()
    def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """A prompt with a resource."""
        resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """A prompt with an image."""
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        """Three places, those that begin as asked for first."""
        places = ["paris", "park", "party"]
        return Completion(values=[one for one in places if one.startswith(argument.value)], has_more=False)
