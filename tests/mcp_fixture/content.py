"""Tools that answer at once: every kind of content, a failure, an annotated schema and one full of JSON Schema 2020-12."""

from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import AudioContent, ContentBlock, EmbeddedResource, ImageContent, TextContent, TextResourceContents
from pydantic import Field

RED_PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE_WAV = "UklGRigAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQQAAAAAAAAA"
"""Two samples of silence."""

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def image() -> ImageContent:
    """One red pixel."""
    return ImageContent(type="image", data=RED_PIXEL_PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    """A text resource inside a result."""
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def add_content_tools(server: MCPServer) -> None:
    """Register them."""

    # First in every order, because the suite tries the headers of a call with the first tool that is listed.
    @server.tool(structured_output=False)
    def add(a: int = 0, b: int = 0) -> str:
        """Adds two numbers."""
        return str(a + b)

    @server.tool(structured_output=False)
    def test_simple_text() -> str:
        """Returns a line of text."""
        return "This is a simple text response for testing."

    @server.tool(structured_output=False)
    def test_image_content() -> list[ContentBlock]:
        """Returns an image."""
        return [image()]

    @server.tool(structured_output=False)
    def test_audio_content() -> list[ContentBlock]:
        """Returns a sound."""
        return [AudioContent(type="audio", data=SILENCE_WAV, mime_type="audio/wav")]

    @server.tool(structured_output=False)
    def test_embedded_resource() -> list[ContentBlock]:
        """Returns a resource."""
        return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]

    @server.tool(structured_output=False)
    def test_multiple_content_types() -> list[ContentBlock]:
        """Returns a text, an image and a resource."""
        return [
            TextContent(type="text", text="Multiple content types test:"),
            image(),
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]

    @server.tool(structured_output=False)
    def test_error_handling() -> str:
        """Always fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False)
    def test_x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Takes an argument that its client repeats in a header."""
        return f"Region: {region}"

    @server.tool(structured_output=False)
    def test_large_result(kilobytes: int = 1024) -> str:
        """Returns many lines of text."""
        return "a line of text, sixty-three characters long and then a newline.\n" * (kilobytes * 16)

    def json_schema_2020_12_tool(
        name: str = "", address: dict[str, str] | None = None, contactMethod: str = "", phone: str = "", email: str = ""
    ) -> str:
        return f"{name} by {contactMethod or 'any means'}"

    plain = Tool.from_function(
        json_schema_2020_12_tool, description="Tool with JSON Schema 2020-12 features", structured_output=False
    )
    server._tool_manager._tools[plain.name] = plain.model_copy(update={"parameters": SCHEMA_2020_12})
