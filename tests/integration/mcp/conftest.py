"""Real MCP servers for all tests of this directory, one of a kind; the log of calls starts empty in every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.mcp_server import MCPServerProcess, Mode, OtherServer, Servers, launched_server, running_mcp_server


@pytest.fixture(scope="session")
def server_processes() -> Iterator[Servers]:
    """Starts a server when one of its kind is first asked for."""
    with ExitStack() as stack:
        yield cache(lambda mode: stack.enter_context(running_mcp_server(mode)))


@pytest.fixture
def servers(server_processes: Servers) -> Servers:
    """The server of a kind, with an empty log."""

    def find(mode: Mode) -> MCPServerProcess:
        running = server_processes(mode)
        running.forget_calls()
        return running

    return find


@pytest.fixture
def server(servers: Servers) -> MCPServerProcess:
    """The server with streams and sessions, for clients of both eras."""
    return servers("plain")


@pytest.fixture(params=["stdio", "sse", "websocket"])
def other_server(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> OtherServer:
    """A server behind each of the other transports."""
    if request.param == "stdio":
        return launched_server(tmp_path / "calls.jsonl")
    running = servers(request.param)
    return OtherServer(request.param, running.url.removesuffix("/"), None, running.log_path)
