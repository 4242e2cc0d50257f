"""initialize: the version is negotiated on the upstream leg, the session is opened on ours (L-02, L-05, L-06)."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.calls import JSON_HEADERS, answer_message
from proxies.mcp.capabilities import change_notices, declared_names, strip
from proxies.mcp.control.handshake import without_unapproved
from proxies.mcp.drain import DRAINS, REMAINDER_SECONDS, Answer
from proxies.mcp.era_watch import check_knows_initialize, not_legacy
from proxies.mcp.eras import negotiable
from proxies.mcp.inspection import inspect_apart, inspect_message
from proxies.mcp.legacy_session import SESSIONS
from proxies.mcp.messages import Message, parts_of, result_response
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.results import initialize_result
from proxies.mcp.texts import error_texts, result_texts
from proxies.mcp.upstream import (
    SESSION_HEADER,
    Received,
    is_stream,
    legacy_headers,
    message_in,
    read_json,
    send,
    session_id_of,
)
from proxies.mcp.upstream_events import events
from proxies.strict_json import dump

MAX_EVENTS_BEFORE_INITIALIZED: Final = 100


async def initialize(exchange: Exchange, message: Message) -> None:
    """Negotiate on the upstream leg and open a session of our own (L-02, L-05, L-06)."""
    params = strip(message.params or {}, era="legacy")
    params["protocolVersion"] = negotiable(params.get("protocolVersion"))
    request = Message(kind="request", id=message.id, method="initialize", params=params)
    await inspect_message(exchange, request)
    headers = legacy_headers(exchange, version=None, session_id=None, traced=True)
    body = await off_loop.sized(exchange.request_bytes, partial(dump, request.body()))
    response = await send(exchange, "POST", headers, body)
    exchange.lap("upstream", waiting=True)
    try:
        if response.status != 200:
            raise await not_legacy(exchange, response, params["protocolVersion"])
        answer, size = await _initialize_answer(exchange, request, response)
        upstream_id = session_id_of(response)
    except BaseException:
        response.close()
        raise
    DRAINS.start(response, REMAINDER_SECONDS)
    if answer.error is not None:
        await check_knows_initialize(exchange, answer.error, params["protocolVersion"])
        texts = partial(error_texts, answer.error)
        await inspect_apart(exchange, texts, parts_of(answer), size=size)
        await answer_message(exchange, answer, size=size)
        return
    result = await without_unapproved(exchange, initialize_result(answer.result or {}))
    await inspect_apart(exchange, partial(result_texts, "initialize", result), {"result": result}, size=size)
    session = SESSIONS.open(
        proxy_id=exchange.proxy.config.id,
        principal_id=exchange.principal.id,
        upstream_id=upstream_id,
        version=result["protocolVersion"],
        capabilities=declared_names(params.get("capabilities")),
    )
    session.controlled = exchange.proxy.controlled
    session.offered_notices = change_notices(result.get("capabilities"))
    if upstream_id is not None:
        session.on_close = partial(exchange.proxy.server.forget, upstream_id)
    assert message.id is not None  # A request has an id.
    body = await off_loop.sized(size, partial(dump, result_response(message.id, result).body()))
    exchange.answer(200, [*JSON_HEADERS, (SESSION_HEADER, session.id)], body)


async def _initialize_answer(exchange: Exchange, request: Message, response: Answer) -> Received:
    """The response to initialize, from JSON or from a stream.

    The session id must be in the head of our answer and depends on the result, so this one answer is always JSON; what a
    server says before it is dropped, which the protocol leaves it no reason to do.
    """
    if not is_stream(response):
        received = await message_in(await read_json(exchange, response))
        if _answers(received.message, request):
            return received
        raise upstream_invalid("The upstream did not answer the request.")
    seen = 0
    async with aclosing(events(exchange, response)) as stream:
        async for event in stream:
            seen += 1
            if seen > MAX_EVENTS_BEFORE_INITIALIZED:
                break
            if not event.data:
                continue
            received = await message_in(event.data)
            if _answers(received.message, request):
                return received
    raise upstream_invalid("The upstream ended its answer before the response.")


def _answers(message: Message, request: Message) -> bool:
    return message.kind == "response" and (type(message.id), message.id) == (type(request.id), request.id)
