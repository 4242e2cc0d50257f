"""An MCP server (legacy, Streamable HTTP, JSON answers) whose declarations a test changes while it runs.

async with changing_server([tool("read")]) as server:
    server.url, server.tools[0] = ..., server.calls
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.asgi_server import serving

INFO = {"name": "github-tools", "version": "4.2.0"}


class ChangingServer:
    """What it declares, and what it was called for."""

    def __init__(self, tools: Sequence[dict[str, Any]], prompts: Sequence[dict[str, Any]] = ()) -> None:
        self.tools = list(tools)
        self.prompts = list(prompts)
        self.instructions = "Use the tools of this server to work with issues."
        self.info = dict(INFO)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.lists = 0
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] != "POST":
            return await _answer(send, 405, None)
        request = json.loads(body)
        if "id" not in request:
            return await _answer(send, 202, None)
        outcome = self._result(request["method"], request.get("params") or {})
        if outcome is None:
            failure = {"code": -32601, "message": "Method not found"}
            return await _answer(send, 200, {"jsonrpc": "2.0", "id": request["id"], "error": failure})
        return await _answer(send, 200, {"jsonrpc": "2.0", "id": request["id"], "result": outcome})

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if method == "initialize":
            return {
                "protocolVersion": params.get("protocolVersion", "2025-11-25"),
                "capabilities": {"tools": {}, "prompts": {}},
                "serverInfo": self.info,
                "instructions": self.instructions,
            }
        if method == "ping":
            return {}
        if method == "tools/list":
            self.lists += 1
            return {"tools": self.tools}
        if method == "prompts/list":
            return {"prompts": self.prompts}
        if method == "tools/call":
            self.calls.append((params["name"], params.get("arguments") or {}))
            return {"content": [{"type": "text", "text": "done"}]}
        return None


async def _answer(send: Any, status: int, value: Any) -> None:
    body = b"" if value is None else json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def changing_server(
    tools: Sequence[dict[str, Any]], prompts: Sequence[dict[str, Any]] = ()
) -> AsyncIterator[ChangingServer]:
    """The server on a free loopback port, in this process."""
    app = ChangingServer(tools, prompts)
    async with serving(app) as url:
        app.url = f"{url}/mcp"
        yield app
