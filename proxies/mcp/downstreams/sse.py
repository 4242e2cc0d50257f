"""HTTP+SSE clients (2024-11-05): a stream that carries every answer, and a place to post messages to (S-01..S-06)."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final
from urllib.parse import parse_qs

from proxies.carriers import Carriers
from proxies.exchange import Exchange
from proxies.keepalive import KeepAlive
from proxies.mcp.control.server import server_of
from proxies.mcp.downstreams.client import CarriedClient
from proxies.mcp.media_types import STREAM_HEADERS, accepted, check_json_body, not_acceptable
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps import authenticate
from proxies.transport.sse import SSEEvent, encode_event

SSE_PATH: Final = "/sse"
MESSAGES_PATH: Final = "/messages"
SESSION_PARAMETER: Final = "sessionId"
SESSION_ID_BYTES: Final = 16


class SSESession:
    """One client's stream, and the messages that it posted."""

    def __init__(self, exchange: Exchange, carriers: Carriers) -> None:
        self.id = secrets.token_urlsafe(SESSION_ID_BYTES)
        self.proxy_id = exchange.proxy.config.id
        self.principal_id = exchange.principal.id
        self._exchange = exchange
        self._carriers = carriers
        self._upstream = exchange.proxy.upstream
        self._keepalive = KeepAlive(exchange)
        self._lost = asyncio.Event()
        self.client = CarriedClient(
            carriers,
            exchange.request,
            proxy_id=self.proxy_id,
            catalogue=server_of(exchange.proxy).catalogue,
            key_digest=exchange.key_digest,
            deliver=self._deliver,
            on_lost=self._lose,
        )

    def recheck(self, proxy: ProxyRuntime) -> None:
        """See `Carrier`."""
        if proxy.upstream is not self._upstream:
            self._lose("the server behind the proxy is another one now")
        elif not authenticate.still_holds(proxy, self._exchange.key_digest, self.principal_id):
            self._lose("the key is not valid any more")
        else:
            self.client.touch(self.principal_id)

    async def run(self) -> None:
        """Be the stream until something ends it."""
        task = asyncio.current_task()
        endpoint = f"{MESSAGES_PATH}?{SESSION_PARAMETER}={self.id}"
        try:
            await self._exchange.write(encode_event(SSEEvent(event="endpoint", data=endpoint)))
            self._exchange.response.end_on_drain(self._drain)
            await self._lost.wait()
        finally:
            self._keepalive.stop()
            if task is not None and not task.cancelling():
                self.client.drain()

    def _drain(self) -> None:
        """The listener drains: end the stream once nothing is under way."""
        self.client.drain()
        self._carriers.start(self._settle())

    async def _settle(self) -> None:
        await self.client.settle()
        self._lost.set()

    def _lose(self, reason: str) -> None:
        if not self._exchange.reason:
            self._exchange.reason = f"The stream was ended: {reason}."
        self._lost.set()

    async def _deliver(self, text: str) -> None:
        self._keepalive.touch()
        await self._exchange.write(encode_event(SSEEvent(event="message", data=text)))


SESSIONS: Final[dict[str, SSESession]] = {}
"""The open streams of this worker by id; `Limits.max_connections` bounds them."""


async def serve_stream(exchange: Exchange) -> None:
    """`GET /sse`: open the stream, and say where messages go."""
    if exchange.request.method != "GET":
        raise _method_not_allowed("GET")
    named = accepted(exchange.request.headers)
    # This transport is older than the rule that clients must name the type; an absent field accepts everything.
    if named - {""} and not named & {"text/event-stream", "text/*", "*/*"}:
        raise not_acceptable("text/event-stream")
    carriers = exchange.proxy.carriers
    assert carriers is not None  # Asked by `endpoint.serve`.
    exchange.protocol = "mcp.sse"
    exchange.operation = "connection"
    session = SSESession(exchange, carriers)
    SESSIONS[session.id] = session
    carriers.add(session)
    exchange.start_answer(200, STREAM_HEADERS)
    try:
        await session.run()
        exchange.finish_answer()
    finally:
        carriers.discard(session)
        del SESSIONS[session.id]
        exchange.lap("downstream", waiting=True)
        carriers.start(session.client.close())


async def serve_message(exchange: Exchange) -> None:
    """`POST /messages`: the message becomes a call of its own, whose answer goes to the stream."""
    request = exchange.request
    if request.method != "POST":
        raise _method_not_allowed("POST")
    exchange.protocol = "mcp.sse"
    exchange.operation = "message"
    session = _session_of(exchange)
    check_json_body(request.headers)
    data = await request.body()
    exchange.lap("read_body", waiting=True)
    answer = await session.client.take(data, request)
    # The message's own call has the record, also where it was refused.
    exchange.leave_unrecorded()
    if answer is None or answer.status < 400:
        exchange.answer(202, [])
    else:
        exchange.answer(answer.status, [("content-type", "application/json")], answer.body)


def _session_of(exchange: Exchange) -> SSESession:
    """The stream that the query names; it does not exist for anybody but its principal (S-03)."""
    values = parse_qs(exchange.request.query, max_num_fields=16).get(SESSION_PARAMETER, [])
    session = SESSIONS.get(values[0]) if len(values) == 1 else None
    if session is None or session.proxy_id != exchange.proxy.config.id or session.principal_id != exchange.principal.id:
        raise Refusal(404, "session_not_found", "There is no such stream.", remediation="Open a new one with GET /sse.")
    return session


def _method_not_allowed(allowed: str) -> Refusal:
    return Refusal(
        405,
        "method_not_allowed",
        f"Only {allowed} is served here.",
        remediation="The older HTTP+SSE transport: GET /sse, then POST to the endpoint that its first event names.",
        headers=(("allow", allowed),),
    )
