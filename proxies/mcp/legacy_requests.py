"""Requests inside a legacy session: admitted one by one, forwarded together, answered as JSON or as a stream."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.calls import JSON_HEADERS, answer_message, check_params, pass_json
from proxies.mcp.control.calls import check_call, hold_call
from proxies.mcp.control.declarations import Declaration, ListKind
from proxies.mcp.control.lists import list_response
from proxies.mcp.control.schemas import check_result
from proxies.mcp.denials import denial
from proxies.mcp.drain import ABANDONED_SECONDS, DRAINS, REMAINDER_SECONDS, Answer
from proxies.mcp.gates import LegacyGate
from proxies.mcp.inspection import Texts, inspect_answer, inspect_message
from proxies.mcp.legacy_session import check_upstream_status, send_patiently, send_reply, upstream_headers
from proxies.mcp.legacy_tasks import check_task_request
from proxies.mcp.messages import Message, MessageId
from proxies.mcp.methods import CLIENT_REQUESTS
from proxies.mcp.refusals import method_not_found, refusal_response
from proxies.mcp.relay import relay
from proxies.mcp.sessions import IdTable, Session, remember, take
from proxies.mcp.upstream import is_stream, send
from proxies.refusal import Refusal
from proxies.strict_json import dump

Declarations = dict[tuple[type, MessageId | None], Declaration]
"""What the requests of a batch call, by their typed ids."""


async def admit_request(exchange: Exchange, session: Session, message: Message) -> Declaration | None:
    """Everything that must hold before a request goes on; raises `Refusal`. The declaration of what it calls."""
    if message.method not in CLIENT_REQUESTS["legacy"]:
        raise method_not_found(message.method, status=200)
    check_params(message, status=200)
    check_task_request(session, message)
    declaration = await check_call(exchange, message)
    await inspect_message(exchange, message, session=session)
    if exchange.hold is not None:
        await hold_call(exchange, message, declaration, session.id)
    assert message.id is not None  # A request has an id.
    remember(session.client_requests, message.id, message.method)
    if declaration is not None and declaration.kind == "tool":
        remember(session.called_tools, message.id, declaration.name)
    return declaration


def nonconforming(exchange: Exchange, declaration: Declaration | None, message: Message) -> Message | None:
    """The error in the place of a result that is not one of the called tool (T-10), noted in the record; else None."""
    if declaration is None or declaration.kind != "tool" or message.result is None:
        return None
    try:
        check_result(declaration, message.result)
    except Refusal as refusal:
        exchange.outcome = refusal.outcome
        exchange.error_code = refusal.code
        exchange.reason = refusal.message
        return refusal_response(message.id, refusal, exchange.id)
    return None


class ControlledList(NamedTuple):
    """What may pass of a list, and how the server had answered."""

    response: Message
    was_streamed: bool


async def list_under_control(
    exchange: Exchange, session: Session, list_kind: ListKind, message: Message
) -> ControlledList:
    """The response to the request for a list of which not everything may pass."""
    take(session.client_requests, message.id)

    async def ask(page: Message) -> Answer:
        response = await send(exchange, "POST", upstream_headers(exchange, session, traced=True), dump(page.body()))
        try:
            check_upstream_status(response, session)
        except BaseException:
            response.close()
            raise
        return response

    first = await ask(message)
    exchange.lap("upstream", waiting=True)
    try:
        return ControlledList(await list_response(exchange, list_kind, message, first, ask), is_stream(first))
    finally:
        first.close()


async def forward(
    exchange: Exchange,
    session: Session,
    body: bytes,
    awaited: IdTable,
    denied: tuple[Message, ...] = (),
    declaration: Declaration | None = None,
    declarations: Declarations | None = None,
) -> None:
    """Send requests and return what answers them; `denied` are answers of ours for the rest of a batch,
    `declaration` is that of the one thing that is called, `declarations` those of what a batch calls."""
    response = await send_patiently(exchange, session, body)
    finished = False
    try:
        check_upstream_status(response, session)

        async def inspect(texts: Texts, _method: str, document: dict[str, Any], size: int) -> None:
            # What the user answered while the call ran was masked in the session, not in the call.
            exchange.masking = exchange.masking or session.masking
            await inspect_answer(exchange, texts, document, declaration, size=size)

        def conform(message: Message) -> Message | None:
            called = (declarations or {}).get((type(message.id), message.id))
            exchange.masking = exchange.masking or session.masking
            return nonconforming(exchange, called, message)

        # The elements of a batch are judged one by one, and so are its answers (L-07).
        deny = partial(denied_element, exchange) if exchange.rpc_id is None else None
        gate = LegacyGate(session, awaited, inspect, conform if declarations else None, deny)
        if is_stream(response):

            async def reply(message: Message) -> None:
                await send_reply(exchange, session, message)

            finished = await relay(exchange, response, gate, session=session, reply=reply, first=denied)
        else:
            passed = await pass_json(exchange, response, gate)
            answers = [*denied, *(message for message in passed.messages if message.kind == "response")]
            await answer(exchange, answers, is_batch=exchange.rpc_id is None, size=passed.size)
    except asyncio.CancelledError:
        # The client left, which cancels nothing in these eras (L-11).
        DRAINS.start(response, ABANDONED_SECONDS)
        raise
    except BaseException:
        response.close()
        raise
    if finished:
        DRAINS.start(response, REMAINDER_SECONDS)
    else:
        response.close()


def denied_element(exchange: Exchange, id: MessageId | None, refusal: Refusal, method: str) -> Message:
    """The answer to one element of a batch whose response is blocked, noted in the record of the batch."""
    exchange.outcome = refusal.outcome
    exchange.error_code = refusal.code
    exchange.reason = refusal.message
    return denial(exchange, id, refusal, method)


async def answer(exchange: Exchange, messages: list[Message], *, is_batch: bool, size: int = 0) -> None:
    """The whole JSON answer to one request or to a batch."""
    if is_batch:
        bodies = [message.body() for message in messages]
        exchange.answer(200, JSON_HEADERS, await off_loop.sized(size, partial(dump, bodies)))
    else:
        await answer_message(exchange, messages[0], size=size)
