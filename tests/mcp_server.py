"""A real MCP server (official SDK, both eras) as a process of its own, and a log of the calls that reached its tools.

async with running_mcp_server() as server:
    server.url            # http://127.0.0.1:PORT/mcp
    server.calls()        # [["add", {"a": 1, "b": 2}], ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

from proxies.contract import MCPTransport, StdioServer
from tests.support.measured import unmeasured_environment

Mode = Literal["plain", "json", "stateless", "resumable", "sse", "websocket", "legacy_only", "modern_only"]
"""How the server answers: streams and sessions, JSON, without sessions, or with events that can be fetched again; or the
other transports, HTTP+SSE of 2024-11-05 and WebSocket; or in one era only."""
PATHS = {"sse": "/sse", "websocket": "/"}

PROGRAM = Path(__file__).with_name("mcp_server_program.py")


class MCPServerProcess:
    """The running server as a test sees it."""

    def __init__(self, url: str, log_path: Path) -> None:
        self.url = url
        self.log_path = log_path

    def calls(self) -> list[list[Any]]:
        """Every tool call that reached the server: name and arguments, oldest first."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def forget_calls(self) -> None:
        """Start an empty log."""
        self.log_path.write_text("")


Servers = Callable[[Mode], MCPServerProcess]


class OtherServer(NamedTuple):
    """A server behind another transport than Streamable HTTP, as a proxy is told of it."""

    transport: MCPTransport
    url: str
    stdio: StdioServer | None
    log_path: Path

    def calls(self) -> list[list[Any]]:
        """As of `MCPServerProcess`."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


def launched_server(log_path: Path) -> OtherServer:
    """The server as a program that the proxy starts itself."""
    log_path.touch()
    argv = (sys.executable, str(PROGRAM), str(log_path), "stdio")
    return OtherServer(
        "stdio", "", StdioServer(argv=argv, environment={"PYTHONPATH": str(PROGRAM.parents[1])}), log_path
    )


@contextmanager
def running_mcp_server(mode: Mode = "plain") -> Iterator[MCPServerProcess]:
    """Start the server on a free port; it is gone when the block ends."""
    with TemporaryDirectory() as directory:
        log_path = Path(directory) / "calls.jsonl"
        log_path.touch()
        command = [sys.executable, str(PROGRAM), str(log_path), mode]
        with subprocess.Popen(
            command, env=unmeasured_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                yield MCPServerProcess(f"http://127.0.0.1:{port}{PATHS.get(mode, '/mcp')}", log_path)
            finally:
                process.kill()
