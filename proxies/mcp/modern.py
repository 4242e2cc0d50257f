"""The modern era (2026-07-28): every POST is one self-contained request; there is no session (M-01..M-17)."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from proxies import pipeline
from proxies.exchange import Exchange
from proxies.mcp.calls import answer_message, check_params, operation_of, pass_json, without_id
from proxies.mcp.capabilities import declared_names, strip_meta
from proxies.mcp.drain import DRAINS, REMAINDER_SECONDS, Answer
from proxies.mcp.era_watch import doubt, not_modern, note_modern
from proxies.mcp.eras import (
    META_CAPABILITIES,
    META_LOG_LEVEL,
    VERSION_HEADER,
    check_modern,
    check_supported,
)
from proxies.mcp.gates import ListenGate, ModernGate
from proxies.mcp.inspection import inspect_and_record, inspect_apart, inspect_message
from proxies.mcp.messages import MODERN_ERRORS, Message, MessageRefused, parse_message, parts_of
from proxies.mcp.param_headers import LearnedTools, mismatch
from proxies.mcp.refusals import header_mismatch, invalid_request
from proxies.mcp.relay import relay
from proxies.mcp.results import modern_result
from proxies.mcp.texts import error_texts, request_texts
from proxies.mcp.upstream import is_stream, media_type, modern_headers, parse_messages, read_json, send
from proxies.refusal import Refusal
from proxies.strict_json import dump
from rules.model import Text

LEARNED: Final = LearnedTools()


async def serve_post(exchange: Exchange, value: Any) -> None:
    """One modern message; raises `Refusal`, `UpstreamError`."""
    exchange.protocol = "mcp.modern"
    message = _parse(exchange, value)
    exchange.operation = operation_of(message)
    if message.kind == "notification":
        # Core defines no notification from client to server: accepted and dropped (M-11).
        version = exchange.request.headers.get(VERSION_HEADER)
        if version is None:
            raise header_mismatch("The MCP-Protocol-Version header is missing.")
        check_supported(version)
        exchange.answer(202, [])
        return
    exchange.rpc_id = message.id
    _check(exchange, message)
    message = Message(kind="request", id=message.id, method=message.method, params=strip_meta(message.params or {}))
    await pipeline.read_ahead(exchange, request_texts(message, exchange.request.headers), "request")
    masked_headers = inspect_message(exchange, message)
    listening = message.method == "subscriptions/listen"
    version = exchange.request.headers.get(VERSION_HEADER) or ""
    body = dump(message.body())
    response = await send(
        exchange, "POST", modern_headers(exchange, message, version, masked_headers), body, endless=listening
    )
    exchange.lap("upstream", waiting=True)
    finished = False
    try:
        finished = await _return(exchange, message, response)
    finally:
        # A client that leaves has cancelled: the upstream sees its stream closed at once (M-13).
        if finished:
            DRAINS.start(response, REMAINDER_SECONDS)
        else:
            await response.aclose()


def _parse(exchange: Exchange, value: Any) -> Message:
    try:
        message = parse_message(value)
    except MessageRefused as error:
        exchange.rpc_id = error.id
        raise invalid_request(str(error)) from None
    if message.kind == "response":
        raise invalid_request("This protocol version has no responses from client to server.")
    return message


def _check(exchange: Exchange, message: Message) -> None:
    headers = exchange.request.headers
    check_modern(message, headers)
    check_params(message, status=400)
    if message.method == "tools/call":
        params = message.params or {}
        wanted = LEARNED.wanted(exchange.proxy.config.id, params["name"])
        if reason := mismatch(wanted, params.get("arguments"), headers):
            raise header_mismatch(reason)


async def _return(exchange: Exchange, request: Message, response: Answer) -> bool:
    """Give the client the answer. True when only the rest of a finished stream is left to read."""
    if response.status != 200:
        await _return_failure(exchange, request, response)
        return False
    note_modern(exchange)
    gate = _gate(exchange, request)
    if is_stream(response):
        return await relay(exchange, response, gate, endless=isinstance(gate, ListenGate))
    for message in await pass_json(exchange, response, gate):
        if message.kind == "response":
            answer_message(exchange, message)
    return False


def _gate(exchange: Exchange, request: Message) -> ModernGate:
    params = request.params or {}
    meta = params["_meta"]
    adapt = partial(
        modern_result,
        declared=declared_names(meta[META_CAPABILITIES]),
        proxy_id=exchange.proxy.config.id,
        learned=LEARNED,
    )
    if request.method == "subscriptions/listen":
        return ListenGate(request, inspect=partial(inspect_and_record, exchange), adapt=adapt)

    def inspect(texts: list[Text], _method: str, document: dict[str, Any]) -> None:
        inspect_apart(exchange, texts, document)

    return ModernGate(request, wants_log=META_LOG_LEVEL in meta, inspect=inspect, adapt=adapt)


async def _return_failure(exchange: Exchange, request: Message, response: Answer) -> None:
    """An answer other than 200. The era's own errors come with 400 or 404 and are messages: inspected and passed on."""
    if response.status in (400, 404) and media_type(response) == "application/json":
        error = await _error_message(exchange, request, response)
        if error is not None:
            if (error.error or {}).get("code") not in MODERN_ERRORS:
                await doubt(exchange, response.status)
            inspect_apart(exchange, error_texts(error.error or {}), parts_of(error))
            answer_message(exchange, without_id(error, request.id), response.status)
            return
    raise await not_modern(exchange, response)


async def _error_message(exchange: Exchange, request: Message, response: Answer) -> Message | None:
    """The JSON-RPC error in the body, if it is one that answers this request."""
    try:
        (message,) = parse_messages(await read_json(exchange, response), allow_batch=False)
    except Refusal:
        return None
    answers = message.id is None or (type(message.id), message.id) == (type(request.id), request.id)
    return message if message.error is not None and answers else None
