"""Subscriptions of modern clients, fed from the streams of legacy sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from proxies.mcp.bridge.leg import Fields, ServerLeg
from proxies.mcp.bridge.server_sessions import ServerSession
from proxies.mcp.bridge.translate import for_subscription, honoured, tagged
from proxies.mcp.drain import Answer
from proxies.mcp.gates import ACKNOWLEDGED
from proxies.mcp.messages import METHOD_NOT_FOUND, Message, MessageId, error_response, result_response
from proxies.mcp.upstreams.answers import SESSION_GONE, StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamBusy, UpstreamError

logger = logging.getLogger(__name__)

MAX_LISTENERS: Final = 5_000
MAX_RESOURCES: Final = 200
RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 60.0


class _Listener(msgspec.Struct, frozen=True, eq=False):
    session: ServerSession
    id: MessageId
    wanted: dict[str, Any]
    answer: StreamAnswer


class Listeners:
    """Every subscription to one server. A session's stream is read while somebody listens to it."""

    def __init__(self, leg: ServerLeg) -> None:
        self._leg = leg
        self._listeners: set[_Listener] = set()
        self._readers: dict[ServerSession, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    async def listen(self, session: ServerSession, request: Message, fields: Fields) -> Answer:
        """Begin a subscription; raises UpstreamError."""
        assert request.id is not None  # A request has an id.
        if len(self._listeners) >= MAX_LISTENERS:
            raise UpstreamBusy("Too many subscriptions are open.")
        wanted = honoured((request.params or {}).get("notifications"), session.capabilities)
        uris = wanted.get("resourceSubscriptions", [])[:MAX_RESOURCES]
        if uris:
            wanted["resourceSubscriptions"] = uris
        answer = StreamAnswer(lambda _ended: self._left(listener, fields))
        listener = _Listener(session, request.id, wanted, answer)
        self._listeners.add(listener)
        session.busy += 1
        acknowledged = Message(kind="notification", method=ACKNOWLEDGED, params={"notifications": wanted})
        answer.put_now(dump(tagged(acknowledged, request.id).body()))
        for uri in uris:
            session.subscribed[uri] += 1
            if session.subscribed[uri] == 1:
                self.spawn(self._subscribe(session, "resources/subscribe", uri, fields))
        if session not in self._readers:
            self._readers[session] = asyncio.get_running_loop().create_task(self._read(session, fields))
        return answer

    async def tell(self, session: ServerSession, message: Message) -> None:
        """Something that the server has announced, wherever it came."""
        for listener in tuple(self._listeners):
            if listener.session is session:
                told = for_subscription(message, listener.wanted, listener.id)
                if told is not None:
                    await listener.answer.put(dump(told.body()))

    def close(self) -> None:
        """End all of them."""
        for listener in tuple(self._listeners):
            listener.answer.end()
        for task in (*self._readers.values(), *self._tasks):
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _left(self, listener: _Listener, fields: Fields) -> None:
        if listener not in self._listeners:
            return
        self._listeners.discard(listener)
        session = listener.session
        session.busy -= 1
        for uri in listener.wanted.get("resourceSubscriptions", []):
            session.subscribed[uri] -= 1
            if not session.subscribed[uri]:
                del session.subscribed[uri]
                self.spawn(self._subscribe(session, "resources/unsubscribe", uri, fields))
        if not any(one.session is session for one in self._listeners):
            task = self._readers.pop(session, None)
            if task is not None:
                task.cancel()

    async def _subscribe(self, session: ServerSession, method: str, uri: str, fields: Fields) -> None:
        request = Message(kind="request", id=session.next_id(), method=method, params={"uri": uri})
        try:
            answer = await self._leg.legacy(
                fields, request, principal_id=session.principal_id, session_id=session.id, version=session.version
            )
            await self._leg.response_to(answer, request)
        except UpstreamError as error:
            logger.debug("%s failed: %s", method, error.code)

    async def _read(self, session: ServerSession, fields: Fields) -> None:
        """Read the session's stream, one after the other, while somebody listens."""
        wait_seconds = RETRY_SECONDS
        while True:
            heard = False
            try:
                received = await self._leg.legacy_stream(
                    fields, principal_id=session.principal_id, session_id=session.id, version=session.version
                )
                try:
                    if received.status in (400, 404, 405, SESSION_GONE):
                        return  # It has none: what it announces comes with the answers to calls.
                    if received.status == 200:
                        async for message in self._leg.messages(received):
                            heard = True
                            await self._take(session, message, fields)
                finally:
                    await received.aclose()
            except UpstreamError as error:
                logger.debug("the stream of a session ended: %s", error.code)
            wait_seconds = RETRY_SECONDS if heard else min(2 * wait_seconds, MAX_RETRY_SECONDS)
            await asyncio.sleep(wait_seconds)

    async def _take(self, session: ServerSession, message: Message, fields: Fields) -> None:
        if message.kind == "notification":
            await self.tell(session, message)
        elif message.kind == "request" and message.id is not None:
            # Whose call it is about cannot be known here, so nobody can be asked.
            reply = (
                result_response(message.id, {})
                if message.method == "ping"
                else error_response(message.id, METHOD_NOT_FOUND, "Method not found")
            )
            accepted = await self._leg.legacy(
                fields, reply, principal_id=session.principal_id, session_id=session.id, version=session.version
            )
            await accepted.aclose()
