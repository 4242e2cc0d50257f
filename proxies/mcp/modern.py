"""The modern era (2026-07-28): every POST is one self-contained request; there is no session (M-01..M-17)."""

from __future__ import annotations

from functools import partial
from typing import Any

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.calls import answer_message, check_params, operation_of, pass_json, without_id
from proxies.mcp.capabilities import declared_names, strip_meta
from proxies.mcp.control.answers import read_answer
from proxies.mcp.control.calls import check_call, hold_call, note_use
from proxies.mcp.control.declarations import Declaration
from proxies.mcp.control.handshake import without_unapproved
from proxies.mcp.control.lists import answer_list, controlled_list
from proxies.mcp.control.server import server_of
from proxies.mcp.drain import DRAINS, REMAINDER_SECONDS, Answer
from proxies.mcp.era_watch import doubt, legacy_only, not_modern, note_modern
from proxies.mcp.eras import (
    META_CAPABILITIES,
    META_LOG_LEVEL,
    VERSION_HEADER,
    check_modern,
    check_supported,
)
from proxies.mcp.gates import ListenGate, ModernGate
from proxies.mcp.inspection import Texts, inspect_and_record, inspect_answer, inspect_apart, inspect_message
from proxies.mcp.messages import MODERN_ERRORS, Message, MessageRefused, parse_message, parts_of, result_response
from proxies.mcp.modern_tasks import admit_task_request, masking_of, note_task, own_tasks_only
from proxies.mcp.param_headers import mismatch
from proxies.mcp.refusals import header_mismatch, invalid_request
from proxies.mcp.relay import relay
from proxies.mcp.results import check_input_requests, modern_result
from proxies.mcp.texts import error_texts
from proxies.mcp.upstream import Received, is_stream, media_type, message_in, modern_headers, read_json, send
from proxies.mcp.upstreams.answers import LegacyServer
from proxies.refusal import Refusal
from proxies.strict_json import dump


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
    await note_use(exchange, message)
    declaration = await check_call(exchange, message)
    list_kind = controlled_list(exchange, message)
    params = own_tasks_only(exchange, strip_meta(message.params or {}))
    message = Message(kind="request", id=message.id, method=message.method, params=params)
    task = admit_task_request(exchange, message, _declared(message))
    masked_headers = await inspect_message(exchange, message, is_declared=declaration is not None)
    if task is not None:
        task.masking = exchange.masking
    if exchange.hold is not None:
        await hold_call(exchange, message, declaration)
    listening = message.method == "subscriptions/listen"
    version = exchange.request.headers.get(VERSION_HEADER) or ""
    write = partial(dump, message.body())
    body = await off_loop.away(write) if exchange.request_bytes > off_loop.LARGE_BYTES else write()
    headers = modern_headers(exchange, message, version, masked_headers)
    response = await send(exchange, "POST", headers, body, endless=listening)
    exchange.lap("upstream", waiting=True)
    finished = False
    try:
        if list_kind is not None and response.status == 200:

            async def more(page: Message) -> Answer:
                return await send(exchange, "POST", headers, dump(page.body()))

            await answer_list(exchange, list_kind, message, response, more)
        else:
            finished = await _return(exchange, message, response, declaration)
    finally:
        # A client that leaves has cancelled: the upstream sees its stream closed at once (M-13).
        if finished:
            DRAINS.start(response, REMAINDER_SECONDS)
        else:
            response.close()


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
        wanted = server_of(exchange.proxy).catalogue.wanted_headers(params["name"])
        if reason := mismatch(wanted, params.get("arguments"), headers):
            raise header_mismatch(reason)


async def _return(exchange: Exchange, request: Message, response: Answer, declaration: Declaration | None) -> bool:
    """Give the client the answer. True when only the rest of a finished stream is left to read."""
    if response.status != 200:
        await _return_failure(exchange, request, response)
        return False
    note_modern(exchange)
    gate = _gate(exchange, request, declaration)
    if request.method == "server/discover":
        await _return_discovered(exchange, request, response, gate)
        return False
    if is_stream(response):
        return await relay(exchange, response, gate, endless=isinstance(gate, ListenGate))
    passed = await pass_json(exchange, response, gate)
    for message in passed.messages:
        if message.kind == "response":
            await answer_message(exchange, message, size=passed.size)
    return False


async def _return_discovered(exchange: Exchange, request: Message, response: Answer, gate: ModernGate) -> None:
    """What the server says about itself, as far as it may pass; that can take a moment, so it is read whole."""
    server = server_of(exchange.proxy)
    assert request.id is not None  # A request has an id.
    limit_bytes = exchange.proxy.config.limits.max_response_bytes
    answer, size = await read_answer(response, request.id, limit_bytes=limit_bytes, noticed=server.note_change)
    exchange.lap("upstream", waiting=True)
    if answer.result is not None:
        answer = result_response(request.id, await without_unapproved(exchange, answer.result))
    passed = await gate.take(answer, size)
    assert passed is not None  # A gate drops no response.
    await answer_message(exchange, passed, size=size)


def _gate(exchange: Exchange, request: Message, declaration: Declaration | None) -> ModernGate:
    meta = _meta(request)
    declared = declared_names(meta[META_CAPABILITIES])
    server = server_of(exchange.proxy)

    async def adapt(method: str, result: dict[str, Any], size: int) -> dict[str, Any]:
        work = partial(modern_result, method, result, declared=declared)
        adapted = await off_loop.away(work) if size > off_loop.LARGE_BYTES else work()
        for tool, wanted in adapted.annotations.items():
            server.catalogue.learn(tool, wanted)
        note_task(exchange, request, adapted.result)
        return adapted.result

    async def inspect_told(texts: Texts, method: str, document: dict[str, Any], size: int) -> None:
        asked = (document.get("params") or {}).get("inputRequests", {})
        await off_loop.sized(size, partial(check_input_requests, asked, declared))
        masking = masking_of(exchange, document)
        await inspect_and_record(exchange, texts, method, document, size=size, masking=masking)

    async def inspect(texts: Texts, _method: str, document: dict[str, Any], size: int) -> None:
        await inspect_answer(exchange, texts, document, declaration, size=size)

    if request.method == "subscriptions/listen":
        return ListenGate(request, inspect=inspect_told, adapt=adapt, noticed=server.note_change)
    return ModernGate(request, wants_log=META_LOG_LEVEL in meta, inspect=inspect, adapt=adapt)


def _declared(request: Message) -> frozenset[str]:
    return declared_names(_meta(request)[META_CAPABILITIES])


def _meta(request: Message) -> dict[str, Any]:
    meta: dict[str, Any] = (request.params or {})["_meta"]
    return meta


async def _return_failure(exchange: Exchange, request: Message, response: Answer) -> None:
    """An answer other than 200. The era's own errors come with 400 or 404 and are messages: inspected and passed on."""
    if isinstance(response, LegacyServer):
        await doubt(exchange, response.status)
        raise legacy_only()
    if response.status in (400, 404) and media_type(response) == "application/json":
        received = await _error_message(exchange, request, response)
        if received is not None:
            error, size = received
            if (error.error or {}).get("code") not in MODERN_ERRORS:
                found = await doubt(exchange, response.status)
                if found is not None and found.era == "legacy":
                    raise legacy_only()
            await inspect_apart(exchange, partial(error_texts, error.error or {}), parts_of(error), size=size)
            await answer_message(exchange, without_id(error, request.id), response.status, size=size)
            return
    raise await not_modern(exchange, response)


async def _error_message(exchange: Exchange, request: Message, response: Answer) -> Received | None:
    """The JSON-RPC error in the body, if it is one that answers this request."""
    try:
        received = await message_in(await read_json(exchange, response))
    except Refusal:
        return None
    message = received.message
    answers = message.id is None or (type(message.id), message.id) == (type(request.id), request.id)
    return received if message.error is not None and answers else None
