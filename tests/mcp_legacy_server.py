"""A scripted MCP server of the legacy eras, with a session, and what tests ask of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.mcp_wire import (
    MODERN,
    Respond,
    event,
    initialize_answer,
    json_answer,
    rpc,
    rpc_error,
    stream_head,
    text_result,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response


class Server:
    """A scripted server with a session; `answers` replaces its answer to one JSON-RPC method or HTTP method."""

    def __init__(self, version: str = "2025-11-25", **answers: Any) -> None:
        self.version = version
        self.answers = answers

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            answer = self.answers.get(raw.method, http_response(405))
        else:
            message = rpc(raw)
            if type(message) is list:
                answer = self.answers["batch"]
            elif message.get("method") == "initialize":
                answer = self.answers.get("initialize", initialize_answer(raw, self.version))
            elif "id" not in message or "method" not in message:
                answer = self.answers.get("accept", http_response(202))
            else:
                name = message["method"].replace("/", "_")
                answer = self.answers.get(name, json_answer(text_result(message["id"], "ok")))
        return await answer(raw, peer) if callable(answer) else answer


def legacy_only(server: Server) -> Respond:
    """A server that has never heard of the modern era."""

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if (raw.header("mcp-protocol-version") or "") >= MODERN:
            return json_answer(rpc_error("server-error", -32600, "Bad Request: Missing session ID"), 400)
        if b"notifications/initialized" in raw.body:
            return http_response(202)
        return await server(raw, peer)

    return respond


def methods(upstream: Any) -> list[str]:
    return [json.loads(seen.body).get("method", "response") if seen.body else seen.method for seen in upstream.requests]


def asking(*questions: dict[str, Any]) -> Any:
    """A tool that asks the client and answers as soon as every question has an answer."""
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head())
        for question in questions:
            await peer.send(chunked(event(question), last=False))
        given = [await answers.get() for _ in questions]
        await peer.send(chunked(event(text_result(rpc(raw)["id"], json.dumps(given)))))
        return None

    async def accept(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        answers.put_nowait(rpc(raw))
        return http_response(202)

    return {"tools_call": call, "accept": accept}


async def next_message(lines: Any) -> Any:
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith("data: {"):
                return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")
