"""Subscriptions of modern clients, fed from the streams of legacy sessions, and what else comes on those (`session_reader`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from proxies.mcp.bridge.leg import Fields, ServerLeg
from proxies.mcp.bridge.server_sessions import ServerSession
from proxies.mcp.bridge.session_reader import SessionReader
from proxies.mcp.bridge.translate import for_subscription, honoured, tagged
from proxies.mcp.drain import Answer
from proxies.mcp.gates import ACKNOWLEDGED, SUBSCRIPTION_ID
from proxies.mcp.messages import Message, MessageId, result_response
from proxies.mcp.upstreams.answers import StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamBusy, UpstreamError

logger = logging.getLogger(__name__)

HEAR_SECONDS: Final = 2.0
"""What a call waits for the session's stream, which some servers ask on at once."""
MAX_LISTENERS: Final = 5_000
MAX_LISTENERS_PER_PRINCIPAL: Final = 1_000
MAX_RESOURCES: Final = 200


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
        self._readers: dict[ServerSession, SessionReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    async def listen(self, session: ServerSession, request: Message, fields: Fields) -> Answer:
        """Begin a subscription; raises UpstreamError."""
        assert request.id is not None  # A request has an id.
        own = sum(one.session.principal_id == session.principal_id for one in self._listeners)
        if len(self._listeners) >= MAX_LISTENERS or own >= MAX_LISTENERS_PER_PRINCIPAL:
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
        self._reader(session)
        return answer

    async def hear(self, session: ServerSession) -> None:
        """Read the session's stream from now on: its server may ask there what is about a call."""
        await self._reader(session).open(HEAR_SECONDS)

    def drop(self, session: ServerSession) -> None:
        """A session is over: nobody hears of it again, so who listens is told to subscribe anew."""
        for listener in tuple(self._listeners):
            if listener.session is session:
                ended = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: listener.id}}
                listener.answer.put_now(dump(result_response(listener.id, ended).body()))
                listener.answer.end()
        reader = self._readers.pop(session, None)
        if reader is not None:
            reader.stop()

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
        for reader in self._readers.values():
            reader.stop()
        for task in self._tasks:
            task.cancel()

    def _reader(self, session: ServerSession) -> SessionReader:
        reader = self._readers.get(session)
        if reader is None:
            reader = self._readers[session] = SessionReader(self._leg, session, self.tell)
        return reader

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
        if not session.asks and not any(one.session is session for one in self._listeners):
            reader = self._readers.pop(session, None)
            if reader is not None:
                reader.stop()

    async def _subscribe(self, session: ServerSession, method: str, uri: str, fields: Fields) -> None:
        request = Message(kind="request", id=session.next_id(), method=method, params={"uri": uri})
        try:
            answer = await self._leg.in_session(fields, request, session)
            await self._leg.response_to(answer, request)
        except UpstreamError as error:
            logger.debug("%s failed: %s", method, error.code)
