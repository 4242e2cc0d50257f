"""Joins MCP over Streamable HTTP to the transport: one admitted HTTP request from its route to its answer."""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp import legacy, legacy_streams, modern
from proxies.mcp.calls import JSON_HEADERS
from proxies.mcp.eras import VERSION_HEADER, era_of, names_modern_version
from proxies.mcp.messages import PARSE_ERROR
from proxies.mcp.refusals import RPCRefusal, invalid_request, refusal_response
from proxies.mcp.upstream import SESSION_HEADER
from proxies.refusal import Refusal
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.headers import Headers

_PATHS: Final = frozenset({"", "/mcp"})
"""Where the endpoint answers besides the target's own path; a final slash makes no difference."""


async def serve(exchange: Exchange) -> None:
    """One MCP request; raises `Refusal`, `UpstreamError` or `BodyError`."""
    request = exchange.request
    path = request.path.rstrip("/")
    if path not in _PATHS and path != exchange.proxy.server.base_path:
        raise Refusal(404, "not_found", "There is no MCP endpoint at this path.", remediation="Use /mcp.")
    if request.method == "POST":
        await _post(exchange)
        return
    if request.method not in ("GET", "DELETE"):
        raise _method_not_allowed()
    # A dual-era endpoint tells them apart by the session, which the modern era does not have (M-09).
    if SESSION_HEADER not in request.headers or names_modern_version(request.headers.get(VERSION_HEADER)):
        raise _method_not_allowed()
    if request.method == "DELETE":
        await legacy_streams.serve_delete(exchange)
        return
    if "text/event-stream" not in _accepted(request.headers):
        raise _not_acceptable("text/event-stream")
    await legacy_streams.serve_get(exchange)


def render_refusal(exchange: Exchange, refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
    """A refusal as MCP clients read it (§2.10): what concerns the message itself is a JSON-RPC error on HTTP 200."""
    headers = list(JSON_HEADERS)
    if refusal.code == "not_found":
        return 404, headers, dump({"error": "not_found"})
    status = refusal.status
    if refusal.outcome == "blocked":
        if exchange.rpc_id is None:
            # A denied notification or response: accepted, dropped, recorded (D-03).
            return 202, [], b""
        status = 200
    elif refusal.outcome == "failed" and exchange.rpc_id is not None:
        status = 200
    return status, headers, dump(refusal_response(exchange.rpc_id, refusal, exchange.id).body())


async def _post(exchange: Exchange) -> None:
    headers = exchange.request.headers
    _check_media_types(headers)
    data = await exchange.request.body()
    exchange.request_bytes = len(data)
    exchange.lap("read_body", waiting=True)
    value = _parse(data)
    exchange.lap("parse")
    if era_of(headers, value) == "modern":
        await modern.serve_post(exchange, value)
    else:
        await legacy.serve_post(exchange, value)


def _parse(data: bytes) -> Any:
    try:
        return parse(data)
    except JSONRefused as error:
        raise RPCRefusal(
            400, PARSE_ERROR, "invalid_json", str(error), remediation="Send one JSON-RPC message in UTF-8."
        ) from None


def _check_media_types(headers: Headers) -> None:
    """JSON in, JSON and event streams out, nothing compressed (G-03, G-05)."""
    media_type = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise invalid_request(
            "The body must be application/json.", status=415, remediation="Send 'Content-Type: application/json'."
        )
    if (headers.get("content-encoding") or "identity").strip().lower() != "identity":
        raise invalid_request(
            "Compressed request bodies cannot be inspected.",
            status=415,
            remediation="Send the body without Content-Encoding.",
        )
    accepted = _accepted(headers)
    for needed in ("application/json", "text/event-stream"):
        if needed not in accepted:
            raise _not_acceptable(needed)


def _accepted(headers: Headers) -> frozenset[str]:
    """The media types that the client names in Accept and does not weigh with zero."""
    accepted = set()
    for part in ",".join(headers.getall("accept")).lower().split(","):
        media_type, _, parameters = part.partition(";")
        if not any(_is_zero_weight(parameter) for parameter in parameters.split(";")):
            accepted.add(media_type.strip())
    return frozenset(accepted)


def _is_zero_weight(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and set(value.strip()) <= {"0", "."}


def _not_acceptable(needed: str) -> RPCRefusal:
    return invalid_request(
        f"The Accept header must name {needed}.",
        status=406,
        remediation="Send 'Accept: application/json, text/event-stream'.",
    )


def _method_not_allowed() -> Refusal:
    return legacy_streams.no_stream()
