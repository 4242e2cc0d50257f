"""The upstream leg: what is sent with a message, and what an HTTP answer means before its messages are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, NamedTuple

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.downgrade import note_downgrade
from proxies.mcp.drain import Answer
from proxies.mcp.eras import METHOD_HEADER, NAME_HEADER, VERSION_HEADER
from proxies.mcp.header_values import encode_value
from proxies.mcp.messages import INVALID_REQUEST, Message, MessageRefused, parse_batch, parse_message
from proxies.mcp.methods import NAME_PARAM
from proxies.mcp.param_headers import PREFIX
from proxies.mcp.refusals import RPCRefusal, upstream_invalid
from proxies.mcp.texts import TRACE_HEADERS
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.strict_json import JSONRefused, parse
from proxies.transport.headers import forwardable_request_headers
from proxies.upstream_key import key_fields

SESSION_HEADER: Final = "mcp-session-id"
LAST_EVENT_HEADER: Final = "last-event-id"
MAX_EVENT_BYTES: Final = 10 * 1024 * 1024
MAX_SESSION_ID_CHARACTERS: Final = 1024

_ACCEPT: Final = ("accept", "application/json, text/event-stream")


# --- What is sent -----------------------------------------------------------------------------------------------------


def legacy_headers(
    exchange: Exchange, *, version: str | None, session_id: str | None, traced: bool = False
) -> list[tuple[str, str]]:
    """The fields of a legacy message: the version and session of the upstream leg, never the client's (L-04).

    `traced` adds the client's trace fields, which only a caller that has inspected them may ask for (I-24).
    """
    headers = _common_headers(exchange, TRACE_HEADERS if traced else frozenset())
    if version is not None:
        headers.append((VERSION_HEADER, version))
    if session_id is not None:
        headers.append((SESSION_HEADER, session_id))
    return headers


def modern_headers(
    exchange: Exchange, message: Message, version: str, masked: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The fields of a modern request, made anew from the body that is sent (M-08); `Mcp-Param-*` goes on (M-06).

    `masked` are the new values of fields that repeat a masked argument.
    """
    headers = _common_headers(exchange, TRACE_HEADERS, (PREFIX,))
    if masked:
        headers = [(name, encode_value(masked[name]) if name in masked else value) for name, value in headers]
    headers += [(VERSION_HEADER, version), (METHOD_HEADER, message.method)]
    parameter = NAME_PARAM.get(message.method)
    if parameter is not None:
        headers.append((NAME_HEADER, encode_value((message.params or {})[parameter])))
    return headers


async def send(
    exchange: Exchange, method: str, headers: list[tuple[str, str]], body: bytes = b"", *, endless: bool = False
) -> Answer:
    """One request to the MCP endpoint that the proxy's target names; raises `UpstreamError`."""
    principal_id = exchange.principal.id
    try:
        if exchange.proxy.eras is not None:
            await exchange.proxy.eras.admit(own_headers(exchange.proxy), principal_id)
        return await send_to(exchange.proxy, method, headers, body, principal_id=principal_id, endless=endless)
    finally:
        # Also where that is why there is no answer.
        note_downgrade(exchange)


async def send_to(
    proxy: ProxyRuntime,
    method: str,
    headers: list[tuple[str, str]],
    body: bytes = b"",
    *,
    principal_id: str = "",
    endless: bool = False,
) -> Answer:
    """`send` without a client's call, for what the gateway asks by itself; raises `UpstreamError`."""
    if body:
        headers = [*headers, ("content-type", "application/json")]
    # The target's own path is put in front: the target is the endpoint.
    target = "" if proxy.server.base_path else "/"
    return await proxy.server.request(method, target, headers, body, principal_id=principal_id, endless=endless)


def own_headers(proxy: ProxyRuntime) -> list[tuple[str, str]]:
    """The fields of every message to the upstream: what is understood, and the proxy's credential."""
    return [_ACCEPT, *key_fields(proxy.config.upstream_auth)]


def _common_headers(
    exchange: Exchange, allow: frozenset[str], allow_prefixes: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    headers = forwardable_request_headers(exchange.request.headers, allow, allow_prefixes=allow_prefixes)
    return headers + own_headers(exchange.proxy)


# --- What came back ---------------------------------------------------------------------------------------------------


def media_type(response: Answer) -> str:
    """The media type without parameters, lower-case."""
    field = response.headers.get("content-type") or ""
    return field if field == "application/json" else field.partition(";")[0].strip().lower()


def is_stream(response: Answer) -> bool:
    """Whether the answer is an event stream."""
    return media_type(response) == "text/event-stream"


def session_id_of(response: Answer) -> str | None:
    """The session id that the upstream assigned; raises `Refusal` for one that must not be sent back."""
    id = response.headers.get(SESSION_HEADER)
    if id is not None and not (0 < len(id) <= MAX_SESSION_ID_CHARACTERS and all("!" <= c <= "~" for c in id)):
        raise upstream_invalid("The upstream assigned a malformed session id.")
    return id


async def read_json(exchange: Exchange, response: Answer) -> bytes:
    """The whole body of a JSON answer; raises `Refusal` where it is something else."""
    if media_type(response) != "application/json":
        raise upstream_invalid("The upstream's answer is neither JSON nor an event stream.")
    limit_bytes = exchange.proxy.config.limits.max_response_bytes
    data = await response.read(limit_bytes)
    exchange.lap("upstream", waiting=True)
    return data


async def messages_in(data: bytes | str, *, allow_batch: bool = False) -> list[Message]:
    """The messages in one JSON text of the upstream, read in a thread where it is large; raises `Refusal`."""
    read = partial(parse_messages, data, allow_batch=allow_batch)
    return await off_loop.away(read) if len(data) > off_loop.LARGE_BYTES else read()


class Received(NamedTuple):
    """One message of the upstream."""

    message: Message
    size: int
    """Of the text in which it came."""


async def message_in(data: bytes | str) -> Received:
    """The one message in a JSON text of the upstream; raises `Refusal`."""
    (message,) = await messages_in(data)
    return Received(message, len(data))


def parse_messages(data: bytes | str, *, allow_batch: bool = False) -> list[Message]:
    """`messages_in` for a caller that is where the text can be read already."""
    try:
        value = parse(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    except JSONRefused as error:
        raise upstream_invalid(f"The upstream's answer is not usable. {error}") from None
    try:
        if allow_batch and type(value) is list:
            return parse_batch(value)
        return [parse_message(value)]
    except MessageRefused as refused:
        raise upstream_invalid(f"The upstream sent something that is not a JSON-RPC message. {refused}") from None


def failed(response: Answer, *, modern: bool) -> Refusal:
    """What a status other than 2xx means for the client. Reason and body are never relayed (I-13)."""
    status = response.status
    if status == 429:
        retry_after = response.headers.get("retry-after")
        return Refusal(
            429,
            "upstream_rate_limited",
            "The upstream is limiting the rate of requests.",
            remediation="Try again later.",
            outcome="upstream_error",
            headers=(("retry-after", retry_after),) if retry_after and retry_after.isdecimal() else (),
        )
    if modern and status in (400, 404, 405, 406, 415):
        # Not evidence of a fault but of an upstream of another era: a client that only probed may fall back (E-02).
        return RPCRefusal(
            400,
            INVALID_REQUEST,
            "upstream_refused",
            f"The upstream does not accept this request (HTTP {status}).",
            remediation="Use the protocol version that the upstream speaks.",
            outcome="upstream_error",
        )
    remediation = "Check that the upstream is up and that the proxy's target is right."
    if status in (401, 403):
        remediation = "Check the upstream credential in the proxy's configuration."
    return Refusal(
        502,
        "upstream_error",
        f"The upstream answered with HTTP {status}.",
        remediation=remediation,
        outcome="upstream_error",
    )
