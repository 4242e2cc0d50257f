"""GET and DELETE of a legacy session: its stream of server messages, resumption, and its end (L-08..L-10, L-13)."""

from __future__ import annotations

from functools import partial
from typing import Any

from proxies.contract import Outcome
from proxies.exchange import Exchange
from proxies.mcp.denials import denial
from proxies.mcp.drain import Answer
from proxies.mcp.event_ids import unseal
from proxies.mcp.gates import SessionGate
from proxies.mcp.inspection import Texts, inspect_and_record
from proxies.mcp.legacy_requests import nonconforming
from proxies.mcp.legacy_session import (
    SESSIONS,
    check_upstream_status,
    send_reply,
    session_for,
    upstream_headers,
)
from proxies.mcp.messages import Message
from proxies.mcp.refusals import invalid_request, upstream_invalid
from proxies.mcp.relay import relay
from proxies.mcp.sessions import Session
from proxies.mcp.upstream import LAST_EVENT_HEADER, is_stream, send
from proxies.refusal import Refusal
from proxies.transport.errors import UpstreamError


async def serve_get(exchange: Exchange) -> None:
    """The session's stream, from now on or from the event that `Last-Event-ID` names."""
    exchange.protocol = "mcp.legacy"
    exchange.operation = "stream"
    session = session_for(exchange)
    headers = upstream_headers(exchange, session)
    resumed_from = exchange.request.headers.get(LAST_EVENT_HEADER)
    if resumed_from is not None:
        exchange.operation = "stream resumed"
        headers.append((LAST_EVENT_HEADER, _upstream_event(session, resumed_from)))
    response: Answer | None = None
    if resumed_from is None and session.own_stream is not None:
        response = await session.own_stream.attach()
    if response is None:
        response = await send(exchange, "GET", headers, endless=True)
    exchange.lap("upstream", waiting=True)
    try:
        if response.status in (404, 405):
            # Also 404, from servers that know no GET: that a session is gone is said to its next POST (L-03). Clients ask
            # every server, so this is no refusal.
            detail = "The server has no stream of its own; clients go on without one."
            raise no_stream(outcome="allowed", detail=detail, allow="DELETE, POST")
        check_upstream_status(response, session)
        if not is_stream(response):
            raise upstream_invalid("The upstream's answer is not an event stream.")
        # Only on resumption may a response come here: the one that its own stream did not deliver.
        awaited = session.client_requests if resumed_from is not None else {}

        async def inspect(texts: Texts, method: str, document: dict[str, Any], size: int) -> None:
            await inspect_and_record(exchange, texts, method, document, size=size, masking=session.masking)

        gate = SessionGate(
            session,
            awaited,
            inspect,
            partial(_nonconforming, exchange, session),
            ref=exchange.id,
            deny=partial(denial, exchange),
        )

        async def reply(message: Message) -> None:
            await send_reply(exchange, session, message)

        await relay(exchange, response, gate, session=session, reply=reply, endless=True)
    finally:
        response.close()


async def serve_delete(exchange: Exchange) -> None:
    """End the session on both legs. Ours ends whatever the upstream says."""
    exchange.protocol = "mcp.legacy"
    exchange.operation = "session end"
    session = session_for(exchange)
    SESSIONS.close(session)
    try:
        response = await send(exchange, "DELETE", upstream_headers(exchange, session))
        response.close()
    except UpstreamError as error:
        exchange.error_code = error.code
    exchange.lap("upstream", waiting=True)
    exchange.answer(204, [])


def no_stream(*, outcome: Outcome = "refused", detail: str = "", allow: str = "POST") -> Refusal:
    """405, never 404, which some clients take for the end of the session. A session can also be ended."""
    return Refusal(
        405,
        "method_not_allowed",
        "There is no stream to open here.",
        remediation="Use POST; a GET stream exists within a legacy session only.",
        outcome=outcome,
        headers=(("allow", allow),),
        detail=detail,
    )


def _nonconforming(exchange: Exchange, session: Session, message: Message) -> Message | None:
    """The error in the place of a late result that is not one of its tool, recorded as a call of its own."""
    key = (type(message.id), message.id or 0)
    name, controlled = session.called_tools.get(key), session.controlled
    if name is None or controlled is None or controlled.control is None:
        return None
    part = exchange.fork("tools/call")
    part.masking = session.masking
    error = nonconforming(part, controlled.catalogue.find("tool", name), message)
    if error is not None:
        part.record()
    return error


def _upstream_event(session: Session, presented: str) -> str:
    """The upstream's event id behind the client's; an unknown one must not open a fresh stream (L-09)."""
    id = unseal(session.event_key, presented)
    if id is None or not (id.isascii() and id.isprintable()):
        raise invalid_request("The Last-Event-ID is not one of this session.")
    return id
