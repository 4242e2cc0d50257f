"""The provider's side of a Realtime connection: opened with the provider's credential before the client's is accepted."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qsl, urlencode

from proxies.exchange import Exchange
from proxies.llm.framing import MAX_EVENT_BYTES
from proxies.llm.surfaces import upstream_path
from proxies.refusal import Refusal
from proxies.transport.errors import UpstreamConnectTimeout, UpstreamRefused
from proxies.transport.headers import forwardable_request_headers
from proxies.transport.via import pseudonym, via_value
from proxies.transport.websocket_client import WebSocketConnection
from proxies.transport.websocket_server import offered_subprotocols
from proxies.upstream_key import key_fields

FORWARDED_HEADERS: Final = frozenset(
    "openai-beta openai-organization openai-project openai-safety-identifier traceparent tracestate user-agent".split()
)
_OFFERED_FIELDS: Final = (
    ("openai-organization.", "openai-organization", ""),
    ("openai-project.", "openai-project", ""),
    ("openai-beta.realtime-", "openai-beta", "realtime="),
)
"""What a browser says in sub-protocols because it cannot send header fields: prefix, field, and what its value begins with."""
_PARAMETERS: Final = frozenset({"model", "deployment", "api-version", "intent"})
MAX_QUERY_FIELDS: Final = 20


def read_query(query: str) -> dict[str, str]:
    """What the client asks for in its address; raises `Refusal` for what the gateway does not send on."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="strict")
    except ValueError:
        raise _bad_query("The query cannot be read.") from None
    asked = dict(fields)
    if len(asked) != len(fields):
        raise _bad_query("The query names one parameter twice.")
    if "call_id" in asked:
        raise Refusal(
            403,
            "endpoint_not_supported",
            "A call that runs over WebRTC or SIP passes the gateway by, so it cannot be joined through it.",
            remediation="Open a session of its own with 'model'.",
        )
    if "model" in asked and "deployment" in asked:
        raise _bad_query("The query names a model and a deployment, which may be two models.")
    if other := asked.keys() - _PARAMETERS:
        raise _bad_query(f"The query holds {min(other)[:40]!a}, which the gateway does not send on.")
    return asked


async def open_upstream(exchange: Exchange, path: str, asked: dict[str, str]) -> WebSocketConnection:
    """Open the provider's WebSocket; raises UpstreamError, or `Refusal` with the provider's own status."""
    pool, limits = exchange.proxy.pool, exchange.proxy.config.limits
    origin = pool.origin
    url = f"{'wss' if origin.is_tls else 'ws'}://{origin.authority}{origin.base_path}"
    url += _path(path, origin.base_path) + (f"?{urlencode(asked)}" if asked else "")
    headers = _headers(exchange)

    def make() -> WebSocketConnection:
        return WebSocketConnection(url, "", headers, max_message_bytes=MAX_EVENT_BYTES)

    try:
        async with asyncio.timeout(limits.connect_timeout_seconds):
            connection = await pool.tunnels.dial(make, limits.connect_timeout_seconds)
    except TimeoutError as error:
        raise UpstreamConnectTimeout("The connection to the upstream took too long.") from error
    try:
        await connection.open(limits.first_byte_timeout_seconds)
    except UpstreamRefused as refused:
        raise _refused(refused) from None
    except BaseException:
        connection.abort()
        raise
    exchange.lap("upstream", waiting=True)
    return connection


def _path(path: str, base_path: str) -> str:
    """What stands behind the target's own path; where the client wrote that too, it is not repeated."""
    if base_path and path.startswith(base_path + "/"):
        return path.removeprefix(base_path)
    return upstream_path(path, base_path)


def _headers(exchange: Exchange) -> list[tuple[str, str]]:
    request, config = exchange.request, exchange.proxy.config
    headers = forwardable_request_headers(request.headers, FORWARDED_HEADERS)
    names = {name for name, _ in headers}
    for offered in offered_subprotocols(request):
        for prefix, name, beginning in _OFFERED_FIELDS:
            if offered.startswith(prefix) and name not in names:
                headers.append((name, beginning + offered.removeprefix(prefix)))
    passed = [value for name, value in headers if name == "via"]
    headers = [(name, value) for name, value in headers if name != "via"]
    headers.append(("via", ", ".join([*passed, via_value([pseudonym(config.id)])])))
    return headers + key_fields(config.upstream_auth)


def _refused(error: UpstreamRefused) -> Refusal:
    """The provider's no, with its status where that is an error's."""
    status = error.refused_with if 400 <= error.refused_with < 600 else 502
    wait = error.fields.get("retry-after", "")
    return Refusal(
        status,
        f"upstream_{error.refused_with}",
        error.message,
        remediation="Check the model, the proxy's target and its upstream credential.",
        outcome="upstream_error",
        headers=(("retry-after", wait),) if wait.isdecimal() else (),
    )


def _bad_query(message: str) -> Refusal:
    return Refusal(400, "invalid_query", message, remediation="Ask with 'model' alone.")
