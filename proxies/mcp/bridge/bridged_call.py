"""One request of a modern client to a legacy server, over as many retries as the server asks questions."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from proxies.mcp.bridge.leg import Fields, ServerLeg
from proxies.mcp.bridge.listeners import Listeners
from proxies.mcp.bridge.parked import Parked, TooManyParked, digest_of
from proxies.mcp.bridge.server_sessions import ServerSession
from proxies.mcp.bridge.translate import to_modern_response
from proxies.mcp.drain import Answer
from proxies.mcp.gates import declined
from proxies.mcp.messages import (
    METHOD_NOT_FOUND,
    UPSTREAM_FAILED,
    Message,
    MessageId,
    error_response,
    result_response,
)
from proxies.mcp.methods import INPUT_METHODS, LISTEN_FILTERS, REQUEST_STREAM_NOTIFICATIONS, SERVER_REQUESTS
from proxies.mcp.upstreams.answers import StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 10.0
KEY: Final = "input"
"""The name of the one question that a result asks."""


class BridgedCall:
    """The server's stream is read to its end by one task; questions make it wait for the client's retry."""

    def __init__(
        self,
        leg: ServerLeg,
        session: ServerSession,
        request: Message,
        sent: Message,
        token: MessageId | None,
        *,
        fields: Fields,
        parked: Parked[BridgedCall],
        listeners: Listeners,
    ) -> None:
        self._leg = leg
        self._session = session
        self._request = request
        self._sent = sent
        self._token = token
        self._fields = fields
        self._parked = parked
        self._listeners = listeners
        self._capabilities: frozenset[str] = frozenset()
        self._responses: asyncio.Future[dict[str, Any]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._finished = False
        self.answer = StreamAnswer(self._left)

    def start(self, received: Answer, *, capabilities: frozenset[str]) -> None:
        """Read what the server answers."""
        self._capabilities = capabilities
        self._session.busy += 1
        self._task = asyncio.get_running_loop().create_task(self._run(received))
        self._task.add_done_callback(self._ended)

    def resume(self, retry: Message, responses: dict[str, Any]) -> StreamAnswer:
        """The client has come back: its answer goes on with this id."""
        self._request = retry
        self.answer = StreamAnswer(self._left)
        if self._responses is not None and not self._responses.done():
            self._responses.set_result(responses)
        return self.answer

    def stop(self) -> None:
        """Nobody will come back."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, received: Answer) -> None:
        try:
            async for message in self._leg.messages(received):
                if message.kind == "notification":
                    await self._notified(message)
                elif message.kind == "request":
                    await self._asked(message)
                elif (type(message.id), message.id) == (int, self._sent.id) or message.id is None:
                    self._finished = True
                    await self._respond(to_modern_response(self._request.method, message, self._id))
                    return
            await self._respond(
                error_response(self._id, UPSTREAM_FAILED, "The server ended its answer before the response.")
            )
        except UpstreamError as error:
            self.answer.fail(error)
        finally:
            await received.aclose()

    @property
    def _id(self) -> MessageId:
        assert self._request.id is not None  # A request has an id.
        return self._request.id

    async def _respond(self, response: Message) -> None:
        await self.answer.put(dump(response.body()))
        self.answer.end()

    async def _notified(self, message: Message) -> None:
        params = message.params or {}
        if message.method == "notifications/progress":
            if self._token is None or params.get("progressToken") != self._sent.id:
                return
            message = Message(
                kind="notification", method=message.method, params={**params, "progressToken": self._token}
            )
        if message.method in LISTEN_FILTERS:
            await self._listeners.tell(self._session, message)
        elif message.method in REQUEST_STREAM_NOTIFICATIONS:
            await self.answer.put(dump(message.body()))

    async def _asked(self, question: Message) -> None:
        """A request of the server: answered here, or by the client's next try."""
        assert question.id is not None  # A request has an id.
        needed = SERVER_REQUESTS.get(question.method)
        if question.method == "ping":
            reply = result_response(question.id, {})
        elif not needed or needed not in self._capabilities or self._request.method not in INPUT_METHODS:
            reply = error_response(question.id, METHOD_NOT_FOUND, "Method not found")
        else:
            said = await self._input(question)
            reply = result_response(question.id, said) if type(said) is dict else declined(question)
        accepted = await self._leg.legacy(
            self._fields,
            reply,
            principal_id=self._session.principal_id,
            session_id=self._session.id,
            version=self._session.version,
        )
        await accepted.aclose()

    async def _input(self, question: Message) -> Any:
        """What the client gives for a question: this answer ends with it, and the next one goes on (M-15)."""
        self._responses = asyncio.get_running_loop().create_future()
        try:
            handle = self._parked.park(
                self, principal_id=self._session.principal_id, digest=digest_of(self._request), expire=self.stop
            )
        except TooManyParked:
            return None
        asked: dict[str, Any] = {"method": question.method}
        if question.params is not None:
            asked["params"] = question.params
        result = {"resultType": "input_required", "inputRequests": {KEY: asked}, "requestState": handle}
        await self._respond(result_response(self._id, result))
        return (await self._responses).get(KEY)

    def _left(self, ended: bool) -> None:
        """In the modern era leaving cancels (M-13)."""
        if not ended:
            self.stop()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._session.busy -= 1
        self.answer.end()
        if task.cancelled():
            if not self._finished:
                self._listeners.spawn(self._cancel())
        elif (error := task.exception()) is not None:
            logger.error("a bridged call failed inside the gateway", exc_info=error)

    async def _cancel(self) -> None:
        """Tell the server that nobody waits any more."""
        params = {"requestId": self._sent.id, "reason": "The client has left."}
        message = Message(kind="notification", method="notifications/cancelled", params=params)
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                accepted = await self._leg.legacy(
                    self._fields,
                    message,
                    principal_id=self._session.principal_id,
                    session_id=self._session.id,
                    version=self._session.version,
                )
                await accepted.aclose()
        except (UpstreamError, TimeoutError) as error:
            logger.debug("a cancellation was not sent: %s", type(error).__name__)
