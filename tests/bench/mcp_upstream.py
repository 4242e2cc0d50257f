"""An MCP server that costs next to nothing: prebuilt answers over raw asyncio, both eras. Prints its port, serves until
stdin closes.

It declares `TOOL_COUNT` tools. A `tools/call` answers with a text of about 600 bytes, `subscriptions/listen` is
acknowledged and then silent, and so is the GET stream of a legacy session. The id of a request is always `"bench"`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

from tests.bench.distinct import distinct
from tests.bench.load import use_fast_loop
from tests.bench.upstream import ANSWER_TEXT, LENGTH

TOOL_COUNT = 100
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
REQUEST_ID = "bench"


def tools() -> list[dict[str, Any]]:
    """The declared tools, each of about 700 bytes."""
    text = {"type": "string", "description": "What the report is about, in plain words.", "maxLength": 4000}
    limit = {"type": "integer", "description": "How many rows at most.", "minimum": 1, "maximum": 500}
    schema = {"type": "object", "properties": {"subject": text, "rows": limit}, "required": ["subject"]}
    described = "Summarises one of the team's reports and lists the rows that changed since last week. "
    return [
        {"name": f"report_{number:03}", "description": described * 3, "inputSchema": schema}
        for number in range(TOOL_COUNT)
    ]


def response(result: dict[str, Any], *fields: bytes) -> bytes:
    """A whole HTTP answer with the result of the request."""
    body = json.dumps({"jsonrpc": "2.0", "id": REQUEST_ID, "result": result}, separators=(",", ":")).encode()
    lines = (b"HTTP/1.1 200 OK", b"content-type: application/json", b"content-length: %d" % len(body), *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


SERVER = {"serverInfo": {"name": "bench", "version": "1"}, "capabilities": {"tools": {"listChanged": True}}}
CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
ANSWERS = {
    b"initialize": response({"protocolVersion": LEGACY, **SERVER}, b"mcp-session-id: bench"),
    b"server/discover": response({"supportedVersions": [MODERN], **SERVER, **CACHED}),
    b"tools/list": response({"tools": tools(), **CACHED}),
    b"tools/call": response({"content": [{"type": "text", "text": ANSWER_TEXT}], "resultType": "complete"}),
}
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def acknowledged() -> bytes:
    """The first event of a subscription."""
    meta = {"io.modelcontextprotocol/subscriptionId": REQUEST_ID}
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    message = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
    event = b"data: " + json.dumps(message).encode() + b"\n\n"
    return STREAM_HEAD + b"%x\r\n%b\r\n" % (len(event), event)


class Connection(asyncio.Protocol):
    """One connection, requests one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[: end + 2]
            length = LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                return
            body = self.buffer[end + 4 : total]
            self.buffer = self.buffer[total:]
            self.transport.write(distinct(self.answer(head, body)))

    def answer(self, head: bytes, body: bytes) -> bytes:
        """What the request gets."""
        if head.startswith(b"GET "):
            return STREAM_HEAD
        message = json.loads(body) if body else {}
        method = message.get("method", "").encode()
        if method == b"subscriptions/listen":
            return acknowledged().replace(b'"bench"', json.dumps(message["id"]).encode())
        if "id" not in message or method not in ANSWERS:
            return ACCEPTED
        answer = ANSWERS[method]
        if message["id"] == REQUEST_ID:
            return answer
        # The gateway's own requests have ids of their own.
        head, _, whole = answer.partition(b"\r\n\r\n")
        named = json.dumps({**json.loads(whole), "id": message["id"]}, separators=(",", ":")).encode()
        fields = [
            b"content-length: %d" % len(named) if b"content-length" in line else line for line in head.split(b"\r\n")
        ]
        return b"\r\n".join(fields) + b"\r\n\r\n" + named


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    use_fast_loop()
    asyncio.run(main())
