"""MCP at the level of HTTP: an upstream whose answers a test writes itself, and a plain HTTP client in front.

async with wire(respond) as (client, upstream, proxy):
    answer = await client.post(request("tools/list"), session=...)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.mcp_rules import small_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, Upstream, UpstreamPeer, chunked, http_response

CLIENT_KEY = "ost_" + "k" * 43
OTHER_KEY = "ost_" + "o" * 43
UPSTREAM_KEY = "upstream-credential-for-tests"
UPSTREAM_SESSION = "upstream-session-1"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}

Respond = Callable[[RawMessage, UpstreamPeer], Awaitable[bytes | None]]
"""The bytes that answer a request; None when the test has written them itself."""


def request(method: str, id: int | str = 1, **params: Any) -> dict[str, Any]:
    """A request as a legacy client writes it."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, **params: Any) -> dict[str, Any]:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id: int | str | None, **members: Any) -> dict[str, Any]:
    """A successful response."""
    return {"jsonrpc": "2.0", "id": id, "result": members}


def text_result(id: int | str, text: str) -> dict[str, Any]:
    """The result of a tool that says one thing."""
    return result(id, content=[{"type": "text", "text": text}])


def rpc_error(id: int | str | None, code: int, message: str = "no", **data: Any) -> dict[str, Any]:
    """An error response."""
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, **({"data": data} if data else {})}}


def json_answer(body: Any, status: int = 200, *headers: str) -> bytes:
    """An HTTP response with a JSON body."""
    return http_response(status, json.dumps(body).encode(), headers=("Content-Type: application/json", *headers))


def stream_head(*headers: str) -> bytes:
    """The head of an event stream in the chunked coding."""
    lines = ("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def event(message: Any, id: str | None = None) -> bytes:
    """One event with one message."""
    lines = [f"id: {id}"] if id is not None else []
    lines += ["event: message", f"data: {json.dumps(message)}", "", ""]
    return "\n".join(lines).encode()


def stream_answer(*messages: Any, headers: tuple[str, ...] = ()) -> bytes:
    """A whole stream with these messages."""
    return stream_head(*headers) + chunked(*[event(message) for message in messages])


def messages_of(stream: str) -> list[Any]:
    """The messages of a stream that a client received."""
    return [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]


def initialize_answer(raw: RawMessage, version: str = "2025-11-25", **members: Any) -> bytes:
    """What a server with sessions says to initialize."""
    body = result(
        json.loads(raw.body)["id"],
        protocolVersion=version,
        capabilities={"tools": {}},
        **{"serverInfo": {"name": "scripted", "version": "1"}, **members},
    )
    return json_answer(body, 200, f"Mcp-Session-Id: {UPSTREAM_SESSION}")


class MCPClient:
    """Plain HTTP with the fields that MCP wants."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, body: Any, *, session: str | None = None, **headers: str) -> httpx.Response:
        """POST one legacy message; `headers` by Python names, for instance `mcp_protocol_version`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post("/mcp", content=content, headers=legacy_headers(session, **headers))

    async def initialize(self, version: str = "2025-11-25", **params: Any) -> str:
        """Open a session; its id."""
        params = {"capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}, **params}
        answer = await self.post(request("initialize", 0, protocolVersion=version, **params))
        assert answer.status_code == 200, answer.text
        return answer.headers["mcp-session-id"]

    async def post_modern(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        """POST one modern request with the envelope and the fields that it implies."""
        return await self.http.post("/mcp", **modern(body, **headers))


def legacy_headers(session: str | None = None, **headers: str) -> dict[str, str]:
    """The fields of a legacy request."""
    fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if session is not None:
        fields["mcp-session-id"] = session
    return fields | {name.replace("_", "-"): value for name, value in headers.items()}


def modern(body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Content and fields of a modern request."""
    params = {"_meta": META, **body.get("params", {})}
    fields = {"mcp_protocol_version": MODERN, "mcp_method": body["method"]}
    if name := params.get("name") or params.get("uri"):
        fields["mcp_name"] = name
    content = json.dumps({**body, "params": params}).encode()
    return {"content": content, "headers": legacy_headers(**{**fields, **headers})}


class Wire(NamedTuple):
    """Everything between the two ends."""

    client: MCPClient
    upstream: Upstream
    proxy: RunningProxy


@asynccontextmanager
async def wire(respond: Respond, *, key: str = CLIENT_KEY, **config: Any) -> AsyncIterator[Wire]:
    """A client, a proxy that asks for a key, and an upstream that answers what `respond` says."""

    async def script(peer: UpstreamPeer) -> None:
        while (raw := await peer.read_request()) is not None:
            answer = await respond(raw, peer)
            if answer is not None:
                await peer.send(answer)

    async with (
        Upstream(script) as upstream,
        running_proxy(
            type="mcp",
            target_url=f"{upstream.url}/mcp",
            client_key=CLIENT_KEY,
            other_keys=(OTHER_KEY,),
            upstream_bearer=UPSTREAM_KEY,
            ruleset=config.pop("ruleset", None) or small_ruleset(),
            **config,
        ) as proxy,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {key}"}, timeout=20) as http,
    ):
        yield Wire(MCPClient(http), upstream, proxy)


def rpc(raw: RawMessage) -> Any:
    """The message in a request that reached the upstream."""
    return json.loads(raw.body)
