"""`python -m tests.bench.mcp [COUNT]`: CPU of one tools/call and one tools/list under control, everything on.

The proxy runs in this process as it does in a worker; server and client are processes of their own.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from typing import Any

from proxies.contract import EntryRule, MCPControl, MCPSettings
from rules.pinning.canonical import hash_json
from rules.policy import load_policies
from tests.proxy_harness import running_proxy

KEY = "ost_" + "b" * 43
TOOLS = 100
POLICY = "mcp-advanced-security"


def tool(number: int) -> dict[str, Any]:
    """A tool of ordinary size."""
    return {
        "name": f"tool_{number:03}",
        "title": f"Tool {number}",
        "description": "Looks something up in the inventory and returns the rows that match, newest first. " * 2,
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to look for, in words."},
                "limit": {"type": "integer", "description": "How many rows at most.", "default": 10},
                "region": {"type": "string", "enum": ["eu", "us", "ap"], "description": "Where."},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "outputSchema": {"type": "object", "properties": {"rows": {"type": "integer"}}, "required": ["rows"]},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


async def serve() -> None:
    """The MCP server: answers whatever comes, at once."""
    listed = json.dumps([tool(number) for number in range(TOOLS)])
    text = "The row was found in the warehouse and is on its way to the customer who ordered it. " * 6

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
            message = json.loads(body) if body else {}
            id, method = json.dumps(message.get("id")), message.get("method")
            if not head.startswith(b"POST"):
                writer.write(b"HTTP/1.1 405 X\r\ncontent-length: 0\r\n\r\n")
                continue
            if "id" not in message:
                writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 0\r\n\r\n")
                continue
            result = {
                "initialize": json.dumps(
                    {
                        "protocolVersion": "2025-11-25",
                        "capabilities": {"tools": {}},
                        "serverInfo": {"name": "bench", "version": "1"},
                    }
                ),
                "tools/list": '{"tools": ' + listed + "}",
                "tools/call": json.dumps(
                    {"content": [{"type": "text", "text": text}], "structuredContent": {"rows": 1}}
                ),
            }.get(method)
            member = f'"result": {result}' if result else '"error": {"code": -32601, "message": "no"}'
            data = f'{{"jsonrpc": "2.0", "id": {id}, {member}}}'.encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s1\r\ncontent-length: %d\r\n\r\n%b"
                % (len(data), data)
            )

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def load(port: int) -> None:
    """The client: jobs come on standard input, `METHOD COUNT` a line."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    fields = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }

    def post(message: dict[str, Any]) -> http.client.HTTPResponse:
        connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), fields)
        answer = connection.getresponse()
        answer.data = answer.read()  # type: ignore[attr-defined]
        return answer

    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    fields["mcp-session-id"] = post({"id": 0, "method": "initialize", "params": params}).headers["mcp-session-id"]
    query = (
        "Where is the parcel with the blue ribbon that left Rotterdam on Tuesday, please, and who signed for it? " * 10
    )
    calls = {"tools/call": {"name": "tool_050", "arguments": {"query": query, "limit": 3}}, "tools/list": {}}
    for line in sys.stdin:
        method, count = line.split()
        for number in range(int(count)):
            answer = post({"id": number + 1, "method": method, "params": calls[method]})
            assert b'"result"' in answer.data, answer.data  # type: ignore[attr-defined]
        print("done", flush=True)


async def measure(count: int) -> None:
    """Print the table."""
    command = [sys.executable, "-m", "tests.bench.mcp"]
    server = subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    target = f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"
    rules = {one["name"]: EntryRule(accepted=(hash_json(one),)) for one in map(tool, range(TOOLS))}
    policy = json.loads(json.dumps({"name": POLICY, "packs": list(load_policies()[POLICY].packs)}))
    for name, settings in (("open", MCPSettings()), ("under control", MCPSettings(control=MCPControl(tools=rules)))):
        async with running_proxy(
            type="mcp",
            target_url=target,
            client_key=KEY,
            packs=load_policies()[POLICY].packs,
            policies=[policy],
            mcp=settings,
        ) as proxy:
            port = proxy.url.rpartition(":")[2]
            client = await asyncio.create_subprocess_exec(
                *command, "load", port, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert client.stdin is not None
            assert client.stdout is not None
            for method, share in (("tools/call", 1), ("tools/list", 4)):
                for measured in (False, True):
                    number = max(5, count // share) if measured else 20
                    before = time.process_time()
                    client.stdin.write(f"{method} {number}\n".encode())
                    assert (await client.stdout.readline()).strip() == b"done"
                    spent = time.process_time() - before
                print(f"| {method}, {name} | {spent / number * 1e6:.0f} µs |", flush=True)
            client.stdin.close()
            await client.wait()
    server.kill()
    server.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["load", port]:
            load(int(port))
        case [*rest]:
            asyncio.run(measure(int(rest[0]) if rest else 2000))
