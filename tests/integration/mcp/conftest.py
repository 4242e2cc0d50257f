"""One real MCP server for all tests of this directory; its log of calls starts empty in every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mcp_server import MCPServerProcess, running_mcp_server


@pytest.fixture(scope="session")
def server_process() -> Iterator[MCPServerProcess]:
    with running_mcp_server() as running:
        yield running


@pytest.fixture
def server(server_process: MCPServerProcess) -> MCPServerProcess:
    server_process.forget_calls()
    return server_process
