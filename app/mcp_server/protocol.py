"""JSON-RPC and MCP for a server that has nothing but tools: one message in, at most one out. No I/O, no sessions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from app.errors import AppError
from app.mcp_server.tools import INSTRUCTIONS, TOOLS, Backend, call
from app.version import __version__
from proxies.strict_json import JSONRefused, parse

logger = logging.getLogger(__name__)

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
MODERN: Final = "2026-07-28"
META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
SERVER: Final = {"name": "ostiary", "title": "Ostiary", "version": __version__}
CACHE: Final = {"ttlMs": 60_000, "cacheScope": "private"}
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
MAX_MESSAGE_BYTES: Final = 1_048_576

Answer = dict[str, Any]


class Refused(Exception):
    """The message is answered with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: Answer = {"code": code, "message": message, **({} if data is None else {"data": data})}
        self.code = code


def read(data: bytes) -> Any:
    """The JSON value of a message; raises Refused."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise Refused(INVALID_REQUEST, "The message is too large.")
    try:
        return parse(data)
    except JSONRefused as error:
        raise Refused(PARSE_ERROR, str(error)) from None


def failure(error: Refused, id: Any = None) -> Answer:
    """An error response."""
    return {"jsonrpc": "2.0", "id": id if type(id) in (int, str) else None, "error": error.error}


async def answer(value: Any, backend: Backend, headers: Mapping[str, str] | None = None) -> Answer | None:
    """The response to a message; None for a notification. `headers` are those of HTTP, which must agree with it."""
    if type(value) is not dict or value.get("jsonrpc") != "2.0" or type(value.get("method")) is not str:
        return failure(Refused(INVALID_REQUEST, "The message is not a JSON-RPC request."))
    id, method, params = value.get("id"), value["method"], value.get("params")
    if "id" not in value:
        return None
    if type(id) not in (int, str) or (params is not None and type(params) is not dict):
        return failure(Refused(INVALID_REQUEST, "The message is not a JSON-RPC request."), id)
    try:
        given: dict[str, Any] = params or {}
        is_modern = _is_modern(method, given, headers)
        result = await _METHODS.get(method, _unknown)(method, given, backend, is_modern)
    except Refused as refusal:
        return failure(refusal, id)
    except Exception:
        # Broad: a request of JSON-RPC is answered in its own form, also when a tool fails in an unforeseen way.
        logger.exception("The method %s failed", method[:100])
        return failure(Refused(INTERNAL_ERROR, "The server failed; its log has the reason."), id)
    if is_modern:
        result = {"resultType": "complete", **result, "_meta": {META_SERVER: SERVER}}
    return {"jsonrpc": "2.0", "id": id, "result": result}


def _is_modern(method: str, params: dict[str, Any], headers: Mapping[str, str] | None) -> bool:
    """Whether the request carries its version itself; raises Refused where version, method or name contradict it."""
    meta = params.get("_meta")
    version = meta.get(META_VERSION) if type(meta) is dict else None
    said = headers.get("mcp-protocol-version") if headers is not None else None
    if version is None:
        if said is not None and said >= MODERN:
            raise Refused(INVALID_PARAMS, f"params._meta must hold {META_VERSION}.")
        return False
    if headers is not None:
        expected = {"mcp-protocol-version": version, "mcp-method": method}
        if method == "tools/call":
            expected["mcp-name"] = params.get("name")
        for name, wanted in expected.items():
            if headers.get(name) != wanted:
                raise Refused(HEADER_MISMATCH, f"The header {name} does not match the message.")
    if version != MODERN:
        raise Refused(UNSUPPORTED_VERSION, "Unsupported protocol version", {"supported": [MODERN, *LEGACY]})
    return True


async def _initialize(_method: str, params: dict[str, Any], _backend: Backend, is_modern: bool) -> Answer:
    if is_modern:
        raise Refused(METHOD_NOT_FOUND, "Method not found")
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in LEGACY else LEGACY[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
    }


async def _discover(_method: str, _params: dict[str, Any], _backend: Backend, is_modern: bool) -> Answer:
    if not is_modern:
        raise Refused(METHOD_NOT_FOUND, "Method not found")
    return {
        "supportedVersions": [MODERN, *LEGACY],
        "capabilities": {"tools": {}},
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
        **CACHE,
    }


async def _ping(_method: str, _params: dict[str, Any], _backend: Backend, _is_modern: bool) -> Answer:
    return {}


async def _list(_method: str, _params: dict[str, Any], _backend: Backend, is_modern: bool) -> Answer:
    return {"tools": list(TOOLS), **(CACHE if is_modern else {})}


async def _call(_method: str, params: dict[str, Any], backend: Backend, _is_modern: bool) -> Answer:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if type(name) is not str or type(arguments) is not dict:
        raise Refused(INVALID_PARAMS, "A call names a tool and gives its arguments as an object.")
    if name not in {tool["name"] for tool in TOOLS}:
        raise Refused(INVALID_PARAMS, f"Unknown tool: {name[:100]}")
    try:
        return await call(name, arguments, backend)
    except AppError as error:
        words = " ".join(part for part in (error.message, *error.fields.values(), error.remediation) if part)
        return {"content": [{"type": "text", "text": words}], "isError": True}


async def _unknown(_method: str, _params: dict[str, Any], _backend: Backend, _is_modern: bool) -> Answer:
    raise Refused(METHOD_NOT_FOUND, "Method not found")


_METHODS: Final[dict[str, Callable[[str, dict[str, Any], Backend, bool], Awaitable[Answer]]]] = {
    "initialize": _initialize,
    "server/discover": _discover,
    "ping": _ping,
    "tools/list": _list,
    "tools/call": _call,
}
