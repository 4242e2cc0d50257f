"""The Streamable HTTP client that the client of a carrier does not have: every message becomes a call (`proxies.carried`).

It keeps the session id between the calls, opens the session's own stream, comes back for answers whose stream was closed
early (L-10), and ends the session when the carrier is gone (S-04, W-04).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.carried import CarriedRequest, CarriedResponse
from proxies.carriers import Carriers
from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.downstreams.incoming import Incoming, modern_fields, read
from proxies.mcp.downstreams.replies import Deliver, Replies
from proxies.mcp.legacy_session import SESSIONS
from proxies.mcp.messages import MessageId
from proxies.mcp.upstream import LAST_EVENT_HEADER, SESSION_HEADER
from proxies.transport.http1_server import Request

logger = logging.getLogger(__name__)

MAX_CALLS: Final = 64
"""Calls of one carrier at the same time; further messages wait, and so does the client."""
ORDER_SECONDS: Final = 10.0
"""How long the messages after a notification wait until it is on its way, so that they do not overtake it."""
RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 30.0
MAX_RESUMPTIONS: Final = 100
GOODBYE_SECONDS: Final = 10.0

_JSON: Final = ("content-type", "application/json")
_ACCEPT: Final = ("accept", "application/json, text/event-stream")
_ACCEPT_STREAM: Final = ("accept", "text/event-stream")


class CarriedClient:
    """One carrier's client. `on_lost` is told why the carrier cannot go on: its key or its session is gone."""

    def __init__(
        self,
        carriers: Carriers,
        opening: Request,
        *,
        proxy_id: str,
        catalogue: Catalogue,
        key_digest: str,
        deliver: Deliver,
        on_lost: Callable[[str], None],
    ) -> None:
        self._carriers = carriers
        self._opening = opening
        self._proxy_id = proxy_id
        self._catalogue = catalogue
        self._key_digest = key_digest
        self._deliver = deliver
        self._on_lost = on_lost
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._tasks: set[asyncio.Task[CarriedResponse]] = set()
        self._modern: dict[tuple[type, MessageId], asyncio.Task[CarriedResponse]] = {}
        """Modern requests under way: leaving such a call cancels it, which a carrier can only say with a message."""
        self._open: set[CarriedResponse] = set()
        self._listener: asyncio.Task[None] | None = None
        self._draining = False
        self.session_id: str | None = None
        """Of our own session, once the client has initialized."""

    def __repr__(self) -> str:
        return f"<CarriedClient {self._opening.path} calls={len(self._tasks)}>"

    async def take(self, data: bytes, carrier: Request | None = None) -> CarriedResponse | None:
        """Begin the call for one message; `carrier` is the request that brought it, where that is not the opening one.

        None for a request, whose answer goes to the client by itself. Everything else is waited for, so that what
        follows does not overtake it; its answer is for the carrier to look at.
        """
        message = await off_loop.sized(len(data), partial(read, data))
        if message.cancels is not None and (task := self._modern.get(_key(message.cancels))) is not None:
            task.cancel()
            return None
        await self._slots.acquire()
        task = asyncio.get_running_loop().create_task(self._call(message, data, carrier or self._opening))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if message.kind == "request" and message.version and message.id is not None:
            self._modern[_key(message.id)] = task
            task.add_done_callback(lambda _: self._modern.pop(_key(message.id), None))
        if message.kind == "request" and message.method != "initialize":
            return None
        done, _ = await asyncio.wait({task}, timeout=ORDER_SECONDS if message.kind != "request" else None)
        if not done or task.cancelled() or task.exception() is not None:
            return None
        response = task.result()
        if message.method == "notifications/initialized" and response.status == 202:
            self._listen()
        return response if message.kind != "request" else None

    def touch(self, principal_id: str) -> None:
        """The carrier is open: its session does not grow old, however quiet it is."""
        if self.session_id is None:
            return
        if SESSIONS.find(self.session_id, proxy_id=self._proxy_id, principal_id=principal_id) is None:
            self._on_lost("the session is over")

    def drain(self) -> None:
        """End what has no end of its own; nothing of the kind begins any more."""
        self._draining = True
        for response in tuple(self._open):
            if response.on_drain is not None:
                response.on_drain()

    async def settle(self) -> None:
        """Wait until the calls that are under way have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """The carrier is gone: leave all calls, and end the session on both legs."""
        if self._listener is not None:
            self._listener.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self.session_id is None:
            return
        id, self.session_id = self.session_id, None
        request = self._request("DELETE", [(SESSION_HEADER, id)])
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._carriers.serve(request, CarriedResponse(request, _nowhere))
        except TimeoutError:
            logger.info("a session could not be ended at its server in time")

    # --- Calls --------------------------------------------------------------------------------------------------------

    async def _call(self, message: Incoming, data: bytes, carrier: Request) -> CarriedResponse:
        replies = Replies(message, self._deliver)
        fields = [_JSON, _ACCEPT, *self._fields(message)]
        request = CarriedRequest(carrier, "POST", fields, data, key_digest=self._key_digest)
        response = CarriedResponse(request, replies.feed)
        try:
            await self._serve(request, response)
            if message.method == "initialize" and response.status == 200:
                self.session_id = response.fields.get(SESSION_HEADER)
            await replies.whole(response.status, response.body)
            if not replies.answered and response.status == 200 and not response.aborted:
                await self._come_back(replies)
            await replies.give_up("The answer ended before its response.")
        except ConnectionResetError:
            logger.debug("the client left before its answer")
        self._check(response, message)
        return response

    async def _come_back(self, replies: Replies) -> None:
        """The server closed a stream before its answer: fetch that from the session's stream, as its client would."""
        for _ in range(MAX_RESUMPTIONS):
            if replies.last_event_id is None or replies.answered or self.session_id is None:
                return
            await asyncio.sleep(min((replies.retry_ms or 1000) / 1000, MAX_RETRY_SECONDS))
            request = self._stream_request(replies.last_event_id)
            response = CarriedResponse(request, replies.feed)
            await self._serve(request, response, until=lambda: replies.answered)
            if response.status != 200:
                return

    async def _serve(
        self, request: CarriedRequest, response: CarriedResponse, until: Callable[[], bool] | None = None
    ) -> None:
        """Serve a call; with `until` its answer has no end of its own, and ends when that holds."""
        if until is not None:
            feed, task = response.sink, asyncio.current_task()

            async def watched(data: bytes) -> None:
                await feed(data)
                if until() and response.on_drain is not None and task is not None:
                    response.on_drain()

            response.sink = watched
        self._open.add(response)
        try:
            await self._carriers.serve(request, response)
        finally:
            self._open.discard(response)

    def _fields(self, message: Incoming) -> list[tuple[str, str]]:
        if message.version:
            name = message.params.get("name")
            named = type(name) is str and message.method == "tools/call"
            return modern_fields(message, self._catalogue.wanted_headers(str(name)) if named else ())
        if self.session_id is not None and message.method != "initialize":
            return [(SESSION_HEADER, self.session_id)]
        return []

    def _check(self, response: CarriedResponse, message: Incoming) -> None:
        """Whether what happened to one message ends them all."""
        if response.status in (401, 403):
            self._on_lost("the key may not use this proxy")
        elif response.status == 404 and self.session_id is not None and not message.version:
            self._on_lost("the session is over")

    def _ended(self, task: asyncio.Task[CarriedResponse]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a carried call failed inside the gateway", exc_info=error)

    # --- The session's own stream -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is None and self.session_id is not None:
            self._listener = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> None:
        """Give the client what the server says unasked, on one stream after the other (L-08)."""
        replies = Replies(Incoming("other"), self._deliver)
        wait_seconds = RETRY_SECONDS
        while self.session_id is not None and not self._draining:
            request = self._stream_request(replies.last_event_id)
            response = CarriedResponse(request, replies.feed)
            try:
                await self._serve(request, response)
            except ConnectionResetError:
                return
            if 400 <= response.status < 500 and response.status != 429:
                # 405: the server has no such stream. Anything else of this kind would not be answered otherwise later.
                self._check(response, Incoming("other"))
                return
            wait_seconds = RETRY_SECONDS if response.bytes_sent else min(2 * wait_seconds, MAX_RETRY_SECONDS)
            await asyncio.sleep(min(replies.retry_ms / 1000, MAX_RETRY_SECONDS) if replies.retry_ms else wait_seconds)

    def _stream_request(self, last_event_id: str | None) -> CarriedRequest:
        fields = [_ACCEPT_STREAM, (SESSION_HEADER, self.session_id or "")]
        if last_event_id is not None:
            fields.append((LAST_EVENT_HEADER, last_event_id))
        return self._request("GET", fields)

    def _request(self, method: str, fields: list[tuple[str, str]]) -> CarriedRequest:
        return CarriedRequest(self._opening, method, fields, key_digest=self._key_digest)


def _key(id: MessageId | None) -> tuple[type, MessageId]:
    return type(id), id or 0


async def _nowhere(_data: bytes) -> None:
    """For answers that nobody reads."""
