"""The legacy eras (2024-11-05 to 2025-11-25): initialize, sessions, and one message or a batch a POST (L-01..L-13)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp.calls import JSON_HEADERS, answer_message, check_params, operation_of, pass_json
from proxies.mcp.capabilities import declared_names, strip
from proxies.mcp.drain import ABANDONED_SECONDS, DRAINS, REMAINDER_SECONDS, Answer, PatientResponse
from proxies.mcp.eras import BATCH_VERSION, VERSION_HEADER, check_legacy_version, negotiable
from proxies.mcp.gates import LegacyGate, declined
from proxies.mcp.inspection import inspect_apart
from proxies.mcp.messages import Message, MessageRefused, parse_batch, parse_message, result_response
from proxies.mcp.methods import CLIENT_NOTIFICATIONS, CLIENT_REQUESTS
from proxies.mcp.refusals import (
    RPCRefusal,
    invalid_request,
    method_not_found,
    printable,
    refusal_response,
    upstream_invalid,
)
from proxies.mcp.relay import relay
from proxies.mcp.results import initialize_result
from proxies.mcp.sessions import IdTable, Session, SessionStore, remember, take
from proxies.mcp.texts import answer_texts, error_texts, request_texts, result_texts
from proxies.mcp.upstream import (
    SESSION_HEADER,
    events,
    failed,
    is_stream,
    legacy_headers,
    parse_answer,
    parse_messages,
    read_json,
    send,
    session_id_of,
)
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError
from rules.model import Text

SESSIONS: Final = SessionStore()
MAX_EVENTS_BEFORE_INITIALIZED: Final = 100


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
    if message.method == "initialize" and message.kind == "request":
        await _initialize(exchange, message)
        return
    session = session_for(exchange)
    if message.kind == "request":
        await _request(exchange, session, message)
    elif message.kind == "notification":
        await _notification(exchange, session, message)
    else:
        await _client_answer(exchange, session, message)


def session_for(exchange: Exchange) -> Session:
    """The session that the request names; raises 400 without one, 404 where it is not this principal's (L-01, L-03)."""
    headers = exchange.request.headers
    id = headers.get(SESSION_HEADER)
    if id is None:
        raise invalid_request(
            "The Mcp-Session-Id header is missing.",
            remediation="Send initialize first, then the Mcp-Session-Id of its answer with every request.",
        )
    session = SESSIONS.find(id, proxy_id=exchange.proxy.config.id, principal_id=exchange.principal.id)
    if session is None:
        raise session_not_found()
    check_legacy_version(headers.get(VERSION_HEADER), session.version)
    return session


def session_not_found() -> RPCRefusal:
    """The status that makes every client initialize anew (L-03)."""
    return RPCRefusal(404, -32600, "session_not_found", "Session not found", remediation="Initialize a new session.")


def upstream_headers(exchange: Exchange, session: Session) -> list[tuple[str, str]]:
    """The fields of a message inside a session."""
    return legacy_headers(exchange, version=session.version, session_id=session.upstream_id)


def check_upstream_status(response: Answer, session: Session) -> None:
    """Refuse what is not a success; the upstream's loss of the session becomes the client's (L-03)."""
    if 200 <= response.status < 300:
        return
    if response.status == 404 and session.upstream_id is not None:
        SESSIONS.close(session)
        raise session_not_found()
    raise failed(response, modern=False)


async def send_reply(exchange: Exchange, session: Session, message: Message) -> None:
    """Send a message upstream on the client's behalf (D-03). A failure is the server's to notice."""
    try:
        response = await send(exchange, "POST", upstream_headers(exchange, session), dump(message.body()))
        await response.aclose()
    except UpstreamError:
        exchange.reason = exchange.reason or "The upstream did not take an answer that was given for the client."


# --- initialize -------------------------------------------------------------------------------------------------------


async def _initialize(exchange: Exchange, message: Message) -> None:
    """Negotiate on the upstream leg and open a session of our own (L-02, L-05, L-06)."""
    params = strip(message.params or {})
    params["protocolVersion"] = negotiable(params.get("protocolVersion"))
    request = Message(kind="request", id=message.id, method="initialize", params=params)
    inspect_apart(exchange, request_texts(request, exchange.request.headers), "request")
    headers = legacy_headers(exchange, version=None, session_id=None)
    response = await send(exchange, "POST", headers, dump(request.body()))
    exchange.lap("upstream", waiting=True)
    try:
        if response.status != 200:
            raise failed(response, modern=False)
        answer = await _initialize_answer(exchange, request, response)
        upstream_id = session_id_of(response)
    except BaseException:
        await response.aclose()
        raise
    DRAINS.start(response, REMAINDER_SECONDS)
    if answer.error is not None:
        inspect_apart(exchange, error_texts(answer.error), "response")
        answer_message(exchange, answer)
        return
    result = initialize_result(answer.result or {})
    inspect_apart(exchange, result_texts("initialize", result), "response")
    session = SESSIONS.open(
        proxy_id=exchange.proxy.config.id,
        principal_id=exchange.principal.id,
        upstream_id=upstream_id,
        version=result["protocolVersion"],
        capabilities=declared_names(params.get("capabilities")),
    )
    assert message.id is not None  # A request has an id.
    body = dump(result_response(message.id, result).body())
    exchange.answer(200, [*JSON_HEADERS, (SESSION_HEADER, session.id)], body)


async def _initialize_answer(exchange: Exchange, request: Message, response: Answer) -> Message:
    """The response to initialize, from JSON or from a stream.

    The session id must be in the head of our answer and depends on the result, so this one answer is always JSON; what a
    server says before it is dropped, which the protocol leaves it no reason to do.
    """
    if not is_stream(response):
        (message,) = parse_messages(await read_json(exchange, response), allow_batch=False)
        if _answers(message, request):
            return message
        raise upstream_invalid("The upstream did not answer the request.")
    seen = 0
    async for event in events(exchange, response):
        seen += 1
        if seen > MAX_EVENTS_BEFORE_INITIALIZED:
            break
        if not event.data:
            continue
        (message,) = parse_messages(parse_answer(event.data.encode()), allow_batch=False)
        if _answers(message, request):
            return message
    raise upstream_invalid("The upstream ended its answer before the response.")


def _answers(message: Message, request: Message) -> bool:
    return message.kind == "response" and (type(message.id), message.id) == (type(request.id), request.id)


# --- Requests ---------------------------------------------------------------------------------------------------------


async def _request(exchange: Exchange, session: Session, message: Message) -> None:
    _admit_request(exchange, session, message)
    assert message.id is not None  # A request has an id.
    awaited: IdTable = {}
    remember(awaited, message.id, message.method)
    await _forward(exchange, session, dump(message.body()), awaited)


def _admit_request(exchange: Exchange, session: Session, message: Message) -> None:
    """Everything that must hold before a request goes on; raises `Refusal`."""
    if message.method not in CLIENT_REQUESTS["legacy"]:
        raise method_not_found(message.method, status=200)
    check_params(message, status=200)
    inspect_apart(exchange, request_texts(message, exchange.request.headers), "request")
    assert message.id is not None  # A request has an id.
    remember(session.client_requests, message.id, message.method)


async def _forward(
    exchange: Exchange, session: Session, body: bytes, awaited: IdTable, denied: tuple[Message, ...] = ()
) -> None:
    """Send requests and return what answers them; `denied` are answers of ours for the rest of a batch."""
    response = await _send_patiently(exchange, session, body)
    finished = False
    try:
        check_upstream_status(response, session)
        gate = LegacyGate(session, awaited, _inspector(exchange))
        if is_stream(response):

            async def reply(message: Message) -> None:
                await send_reply(exchange, session, message)

            finished = await relay(exchange, response, gate, session=session, reply=reply, first=denied)
        else:
            passed = [m for m in await pass_json(exchange, response, gate) if m.kind == "response"]
            _answer(exchange, [*denied, *passed], is_batch=exchange.rpc_id is None)
    except asyncio.CancelledError:
        # The client left, which cancels nothing in these eras (L-11).
        DRAINS.start(response, ABANDONED_SECONDS)
        raise
    except BaseException:
        await response.aclose()
        raise
    if finished:
        DRAINS.start(response, REMAINDER_SECONDS)
    else:
        await response.aclose()


async def _send_patiently(exchange: Exchange, session: Session, body: bytes) -> PatientResponse:
    """Send, in a way that a client's departure does not take the request back (L-11)."""

    async def sent() -> PatientResponse:
        return PatientResponse(await send(exchange, "POST", upstream_headers(exchange, session), body))

    sending = asyncio.ensure_future(sent())
    try:
        response = await asyncio.shield(sending)
    except asyncio.CancelledError:
        DRAINS.start(sending, ABANDONED_SECONDS)
        raise
    exchange.lap("upstream", waiting=True)
    return response


def _inspector(exchange: Exchange) -> Any:
    def inspect(texts: list[Text], _method: str) -> None:
        inspect_apart(exchange, texts, "response")

    return inspect


def _answer(exchange: Exchange, messages: list[Message], *, is_batch: bool) -> None:
    if is_batch:
        exchange.answer(200, JSON_HEADERS, dump([message.body() for message in messages]))
    else:
        answer_message(exchange, messages[0])


# --- Notifications and answers of the client --------------------------------------------------------------------------


async def _notification(exchange: Exchange, session: Session, message: Message) -> None:
    """Inspected and forwarded; an unknown one is accepted and dropped, a denied one too (D-03, I-30)."""
    if message.method not in CLIENT_NOTIFICATIONS:
        exchange.outcome = "refused"
        exchange.error_code = "unknown_notification"
        exchange.reason = f"Dropped the unknown notification {printable(message.method)}."
        exchange.answer(202, [])
        return
    inspect_apart(exchange, request_texts(message), "request")
    await _post_and_accept(exchange, session, message)


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
    try:
        inspect_apart(exchange, answer_texts(method, message), "request")
    except Refusal as refusal:
        if refusal.outcome == "blocked":
            await send_reply(exchange, session, declined(Message(kind="request", id=message.id, method=method)))
        raise
    await _post_and_accept(exchange, session, message)


async def _post_and_accept(exchange: Exchange, session: Session, message: Message) -> None:
    response = await send(exchange, "POST", upstream_headers(exchange, session), dump(message.body()))
    exchange.lap("upstream", waiting=True)
    try:
        check_upstream_status(response, session)
    finally:
        await response.aclose()
    exchange.answer(202, [])


# --- Batches ----------------------------------------------------------------------------------------------------------


async def _batch(exchange: Exchange, messages: list[Message]) -> None:
    """Every element judged for itself; what is denied is answered by us while the rest goes on (L-07)."""
    exchange.operation = f"batch of {len(messages)}"
    session = session_for(exchange)
    if session.version != BATCH_VERSION:
        raise invalid_request(f"Protocol version {session.version} has no batches.")
    allowed: list[Message] = []
    denied: list[Message] = []
    for message in messages:
        try:
            if _admit_element(exchange, session, message):
                allowed.append(message)
        except Refusal as refusal:
            exchange.outcome = refusal.outcome
            exchange.error_code = refusal.code
            exchange.reason = refusal.message
            if message.kind == "request":
                denied.append(refusal_response(message.id, refusal, exchange.id))
    awaited: IdTable = {}
    for message in allowed:
        if message.kind == "request" and message.id is not None:
            remember(awaited, message.id, message.method)
    body = dump([message.body() for message in allowed])
    if awaited:
        await _forward(exchange, session, body, awaited, tuple(denied))
        return
    if allowed:
        response = await send(exchange, "POST", upstream_headers(exchange, session), body)
        await response.aclose()
        check_upstream_status(response, session)
    if denied:
        _answer(exchange, denied, is_batch=True)
    else:
        exchange.answer(202, [])


def _admit_element(exchange: Exchange, session: Session, message: Message) -> bool:
    """Whether one element goes on; raises `Refusal` where it is denied."""
    if message.kind == "request":
        _admit_request(exchange, session, message)
        return True
    if message.kind == "notification":
        if message.method not in CLIENT_NOTIFICATIONS:
            return False
        inspect_apart(exchange, request_texts(message), "request")
        return True
    method = take(session.server_requests, message.id)
    if method is None:
        return False
    inspect_apart(exchange, answer_texts(method, message), "request")
    return True
