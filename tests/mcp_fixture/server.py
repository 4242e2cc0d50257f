"""The fixture server, put together."""

from mcp.server.mcpserver import MCPServer

from tests.mcp_fixture.content import add_content_tools
from tests.mcp_fixture.conversations import add_conversation_tools
from tests.mcp_fixture.input_required import add_input_required_tools
from tests.mcp_fixture.resources import add_prompts, add_resources
from tests.mcp_fixture.tasks import Tasks, add_task_tools


def build_server() -> MCPServer:
    """The server with everything that the suite asks for."""
    server = MCPServer(
        "ostiary-conformance-fixture",
        version="1.0.0",
        instructions="Tools for testing a gateway.",
        extensions=[Tasks()],
        log_level="CRITICAL",
    )
    add_content_tools(server)
    add_conversation_tools(server)
    add_input_required_tools(server)
    add_task_tools(server)
    add_resources(server)
    add_prompts(server)
    return server
