"""A scripted MCP server of the modern era only, for tests of the bridge between the eras."""

from __future__ import annotations

from typing import Any

from proxies.contract import MCPSettings
from tests.mcp_wire import MODERN, json_answer, result, rpc, rpc_error
from tests.rawpeer import RawMessage, UpstreamPeer, http_response

BRIDGE = MCPSettings(era="bridge")
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
QUESTION = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
COMPLETE = {"resultType": "complete", "ttlMs": 5, "cacheScope": "public"}


class ModernServer:
    """A scripted server of the modern era only; `answers` by method with underscores."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.seen: list[dict[str, Any]] = []
        self.fields: list[RawMessage] = []

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            return http_response(405)
        message = rpc(raw)
        if raw.header("mcp-protocol-version") != MODERN:
            return json_answer(rpc_error(message.get("id"), -32022, supported=[MODERN]), 400)
        self.seen.append(message)
        self.fields.append(raw)
        if message["method"] == "server/discover":
            members = {"supportedVersions": [MODERN], "capabilities": CAPABILITIES, "instructions": "Be kind."}
            meta = {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "9"}}
            return json_answer(result(message["id"], **members, _meta=meta, **COMPLETE))
        answer = self.answers.get(message["method"].replace("/", "_"))
        if answer is None:
            return json_answer(result(message["id"], **COMPLETE))
        if isinstance(answer, list):
            answer = answer.pop(0)
        return await answer(raw, peer) if callable(answer) else json_answer(result(message["id"], **answer))
