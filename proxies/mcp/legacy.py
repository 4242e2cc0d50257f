"""The legacy eras (2024-11-05 to 2025-11-25): what one POST brings, a message or a batch, and where it goes."""

from __future__ import annotations

from functools import partial
from typing import Any

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.calls import answer_message, operation_of
from proxies.mcp.control.calls import note_use
from proxies.mcp.control.lists import controlled_list
from proxies.mcp.control.session_stream import listen
from proxies.mcp.denials import denial
from proxies.mcp.eras import BATCH_VERSION
from proxies.mcp.gates import declined
from proxies.mcp.inspection import mask_apart
from proxies.mcp.legacy_handshake import initialize
from proxies.mcp.legacy_requests import (
    Declarations,
    admit_request,
    answer,
    denied_element,
    forward,
    list_under_control,
)
from proxies.mcp.legacy_session import check_upstream_status, send_reply, session_for, upstream_headers
from proxies.mcp.messages import Message, MessageRefused, parse_batch, parse_message
from proxies.mcp.methods import CLIENT_NOTIFICATIONS
from proxies.mcp.refusals import invalid_request, printable
from proxies.mcp.relay import answer_on_stream
from proxies.mcp.sessions import IdTable, Session, remember, take
from proxies.mcp.texts import answer_texts, request_texts
from proxies.mcp.upstream import send
from proxies.refusal import Refusal
from proxies.strict_json import dump


async def serve_post(exchange: Exchange, value: Any) -> None:
    """One legacy message or batch; raises `Refusal`, `UpstreamError`."""
    exchange.protocol = "mcp.legacy"
    try:
        messages = parse_batch(value) if type(value) is list else [parse_message(value)]
    except MessageRefused as error:
        exchange.rpc_id = error.id
        raise invalid_request(str(error)) from None
    if type(value) is list:
        await _batch(exchange, messages)
        return
    message = messages[0]
    exchange.operation = operation_of(message)
    exchange.rpc_id = message.id if message.kind == "request" else None
    await note_use(exchange, message)
    if message.method == "initialize" and message.kind == "request":
        await initialize(exchange, message)
        return
    session = session_for(exchange)
    if message.kind == "request":
        await _request(exchange, session, message)
    elif message.kind == "notification":
        await _notification(exchange, session, message)
    else:
        await _client_answer(exchange, session, message)


async def _request(exchange: Exchange, session: Session, message: Message) -> None:
    listen(session)
    list_kind = controlled_list(exchange, message)
    declaration = await admit_request(exchange, session, message)
    assert message.id is not None  # A request has an id.
    if list_kind is not None:
        listed = await list_under_control(exchange, session, list_kind, message)
        if listed.was_streamed:
            await answer_on_stream(exchange, listed.response)
        else:
            await answer_message(exchange, listed.response)
        return
    awaited: IdTable = {}
    remember(awaited, message.id, message.method)
    body = await off_loop.sized(exchange.request_bytes, partial(dump, message.body()))
    await forward(exchange, session, body, awaited, declaration=declaration)


async def _notification(exchange: Exchange, session: Session, message: Message) -> None:
    """Inspected and forwarded; an unknown one is accepted and dropped, a denied one too (D-03, I-30)."""
    if message.method not in CLIENT_NOTIFICATIONS:
        exchange.outcome = "refused"
        exchange.error_code = "unknown_notification"
        exchange.reason = f"Dropped the unknown notification {printable(message.method)}."
        exchange.answer(202, [])
        return
    await mask_apart(exchange, message, partial(request_texts, message), session=session)
    if message.method == "notifications/cancelled" and exchange.proxy.controlled is not None:
        exchange.proxy.controlled.holds.cancel(session.id, (message.params or {}).get("requestId"))
    await _post_and_accept(exchange, session, message)
    if message.method == "notifications/initialized":
        listen(session)


async def _client_answer(exchange: Exchange, session: Session, message: Message) -> None:
    """The client's response to a server request: only to one that was asked, and only once (L-12)."""
    method = take(session.server_requests, message.id)
    exchange.operation = f"response {method}" if method else "response"
    if method is None or message.id is None:
        exchange.outcome = "refused"
        exchange.error_code = "unexpected_response"
        exchange.reason = "Dropped a response to a request that is not open."
        exchange.answer(202, [])
        return
    refusal: Refusal | None = None
    try:
        await mask_apart(exchange, message, partial(answer_texts, method, message), session=session)
    except Refusal as refused:
        refusal = refused
    if refusal is not None:
        if refusal.outcome == "blocked":
            await send_reply(exchange, session, declined(Message(kind="request", id=message.id, method=method)))
        raise refusal
    await _post_and_accept(exchange, session, message)


async def _post_and_accept(exchange: Exchange, session: Session, message: Message) -> None:
    body = await off_loop.sized(exchange.request_bytes, partial(dump, message.body()))
    response = await send(exchange, "POST", upstream_headers(exchange, session), body)
    exchange.lap("upstream", waiting=True)
    try:
        check_upstream_status(response, session)
    finally:
        response.close()
    exchange.answer(202, [])


async def _batch(exchange: Exchange, messages: list[Message]) -> None:
    """Every element judged for itself; what is denied is answered by us while the rest goes on (L-07)."""
    exchange.operation = f"batch of {len(messages)}"
    session = session_for(exchange)
    if session.version != BATCH_VERSION:
        raise invalid_request(f"Protocol version {session.version} has no batches.")
    allowed: list[Message] = []
    denied: list[Message] = []
    declarations: Declarations = {}
    for message in messages:
        try:
            list_kind = controlled_list(exchange, message) if message.kind == "request" else None
            if not await _admit_element(exchange, session, message, declarations):
                continue
            if list_kind is not None:
                # Its answer is ours, like that of what is denied.
                denied.append((await list_under_control(exchange, session, list_kind, message)).response)
            else:
                allowed.append(message)
        except Refusal as refusal:
            exchange.outcome = refusal.outcome
            exchange.error_code = refusal.code
            exchange.reason = refusal.message
            if message.kind == "request":
                denied.append(denial(exchange, message.id, refusal, message.method))
    awaited: IdTable = {}
    for message in allowed:
        if message.kind == "request" and message.id is not None:
            remember(awaited, message.id, message.method)
    body = await off_loop.sized(exchange.request_bytes, partial(dump, [message.body() for message in allowed]))
    if awaited:
        await _forward_batch(exchange, session, body, awaited, denied, declarations)
        return
    if allowed:
        response = await send(exchange, "POST", upstream_headers(exchange, session), body)
        response.close()
        check_upstream_status(response, session)
    if denied:
        await answer(exchange, denied, is_batch=True)
    else:
        exchange.answer(202, [])


async def _forward_batch(
    exchange: Exchange,
    session: Session,
    body: bytes,
    awaited: IdTable,
    denied: list[Message],
    declarations: Declarations,
) -> None:
    """Send on the requests that are `awaited`. Where the server refuses the batch as a whole, each of them is answered:
    whoever waits for one of their ids would wait for ever on an error about none."""
    asked = [(id, method) for (_, id), method in awaited.items()]
    failed: Refusal | None = None
    try:
        await forward(exchange, session, body, awaited, tuple(denied), declarations=declarations)
    except Refusal as refusal:
        if exchange.response.started or refusal.status == 404:
            raise
        failed = refusal
    if failed is not None:
        refused = [denied_element(exchange, id, failed, method) for id, method in asked]
        await answer(exchange, [*denied, *refused], is_batch=True)


async def _admit_element(exchange: Exchange, session: Session, message: Message, declarations: Declarations) -> bool:
    """Whether one element goes on, with what it calls noted; raises `Refusal` where it is denied."""
    if message.kind == "request":
        declaration = await admit_request(exchange, session, message)
        if declaration is not None:
            declarations[type(message.id), message.id] = declaration
        return True
    if message.kind == "notification":
        if message.method not in CLIENT_NOTIFICATIONS:
            return False
        await mask_apart(exchange, message, partial(request_texts, message), session=session)
        return True
    method = take(session.server_requests, message.id)
    if method is None:
        return False
    await mask_apart(exchange, message, partial(answer_texts, method, message), session=session)
    return True
