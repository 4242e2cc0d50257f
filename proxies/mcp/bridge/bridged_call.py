"""One request of a modern client to a legacy server, over as many retries as the server asks questions."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from proxies.mcp.bridge.leg import Fields, RefusedByStatus, ServerLeg
from proxies.mcp.bridge.listeners import Listeners
from proxies.mcp.bridge.parked import Parked, TooManyParked, digest_of
from proxies.mcp.bridge.server_sessions import ServerSession
from proxies.mcp.bridge.translate import at_least, log_level_of, progress_token_of, to_modern_response
from proxies.mcp.capabilities import declared_names, may_ask
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
from proxies.mcp.methods import INPUT_METHODS, INPUT_REQUESTS, LISTEN_FILTERS, REQUEST_STREAM_NOTIFICATIONS
from proxies.mcp.upstreams.answers import StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 10.0
GATHER_SECONDS: Final = 0.05
"""How long after its first question a server may ask more that the client is asked together with it."""
MAX_QUESTIONS: Final = 32
"""Questions of one call that may be open."""

_Key = tuple[type, MessageId]


class BridgedCall:
    """The server's stream is read to its end by one task; meanwhile questions go out and come back with the client's retries.

    The client is either here, with an answer that is open, or away with the questions in `_asked`.
    """

    def __init__(
        self,
        leg: ServerLeg,
        session: ServerSession,
        request: Message,
        sent: Message,
        *,
        fields: Fields,
        capabilities: dict[str, Any],
        parked: Parked[BridgedCall],
        listeners: Listeners,
    ) -> None:
        self._leg = leg
        self._session = session
        self._request = request
        self._sent = sent
        self._fields = fields
        self._parked = parked
        self._listeners = listeners
        self._declared = declared_names(capabilities)
        self._waiting: dict[_Key, Message] = {}
        """What the server has asked and the client has not heard yet."""
        self._asked: dict[str, Message] = {}
        """What the client has been asked, by the names under which it will answer."""
        self._asking = asyncio.Event()
        """Set once the client has been asked anything."""
        self._here = asyncio.Event()
        self._here.set()
        self._gathering: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._finished = False
        self.answer = StreamAnswer(self._left)

    async def send(self) -> int:
        """Send the request; the status of the server's answer, read from then on where it is 200. Raises UpstreamError.

        A server may ask, on the session's stream, before it begins to answer: that counts as 200.
        """
        self._session.busy += 1
        if self.may_be_asked:
            self._session.calls.append(self)
        sending = asyncio.ensure_future(self._leg.in_session(self._fields, self._sent, self._session))
        asking = asyncio.ensure_future(self._asking.wait())
        try:
            await asyncio.wait({sending, asking}, return_when=asyncio.FIRST_COMPLETED)
            status = sending.result().status if sending.done() else 200
            if status != 200:
                sending.result().close()
        except BaseException:
            self._over()
            if not sending.cancel() and not sending.cancelled() and sending.exception() is None:
                sending.result().close()
            raise
        finally:
            asking.cancel()
        if status != 200:
            self._over()
            return status
        self._task = asyncio.get_running_loop().create_task(self._run(sending))
        self._task.add_done_callback(self._ended)
        return status

    @property
    def may_be_asked(self) -> bool:
        """Whether the answer to this request can ask for input (M-15)."""
        return self._request.method in INPUT_METHODS

    def resume(self, retry: Message, responses: dict[str, Any]) -> StreamAnswer:
        """The client has come back: its answer goes on with this id."""
        self._request = retry
        self.answer = StreamAnswer(self._left)
        asked, self._asked = self._asked, {}
        self._here.set()
        replies = [self._reply_to(question, responses.get(key)) for key, question in asked.items()]
        self._listeners.spawn(self._send_all(replies))
        if self._waiting:
            self._gather()
        return self.answer

    def stop(self) -> None:
        """Nobody will come back."""
        if self._task is not None:
            self._task.cancel()

    def ask(self, question: Message) -> None:
        """A request of the server: answered here, or by the client's next try."""
        assert question.id is not None  # A request has an id.
        if question.method == "ping":
            self._listeners.spawn(self._send_all([result_response(question.id, {})]))
            return
        may = question.method in INPUT_REQUESTS and may_ask(question.method, question.params, self._declared)
        if not may or not self.may_be_asked or len(self._waiting) + len(self._asked) >= MAX_QUESTIONS:
            reply = error_response(question.id, METHOD_NOT_FOUND, "Method not found")
            self._listeners.spawn(self._send_all([reply]))
            return
        self._waiting[type(question.id), question.id] = question
        if self._here.is_set():
            self._gather()

    # --- The server's side --------------------------------------------------------------------------------------------

    async def _run(self, sending: asyncio.Future[Answer]) -> None:
        received: Answer | None = None
        try:
            received = await sending
            if received.status != 200:
                raise RefusedByStatus(received.status)
            response = await self._read(received)
            # A server that has stopped waiting for input is heard by the retry.
            await self._here.wait()
            await self._respond(to_modern_response(self._request.method, response, self._id))
        except UpstreamError as error:
            await self._here.wait()
            self.answer.fail(error)
        finally:
            if received is not None:
                received.close()

    async def _read(self, received: Answer) -> Message:
        async for message in self._leg.messages(received):
            if message.kind == "notification":
                await self._notified(message)
            elif message.kind == "request":
                self.ask(message)
            elif (type(message.id), message.id) == (int, self._sent.id) or message.id is None:
                self._finished = True
                return message
        return error_response(self._id, UPSTREAM_FAILED, "The server ended its answer before the response.")

    async def _notified(self, message: Message) -> None:
        params = message.params or {}
        if message.method == "notifications/cancelled":
            self._taken_back(params.get("requestId"))
        elif message.method == "notifications/progress":
            token = progress_token_of(self._request)
            if token is not None and params.get("progressToken") == self._sent.id:
                told = Message(kind="notification", method=message.method, params={**params, "progressToken": token})
                await self.answer.put(dump(told.body()))
        elif message.method in LISTEN_FILTERS:
            await self._listeners.tell(self._session, message)
        elif message.method in REQUEST_STREAM_NOTIFICATIONS and at_least(log_level_of(self._request), params):
            await self.answer.put(dump(message.body()))

    def _taken_back(self, id: Any) -> None:
        """The server does not wait for the answer to a question any more."""
        self._waiting.pop((type(id), id), None)
        for key, question in tuple(self._asked.items()):
            if (type(question.id), question.id) == (type(id), id):
                del self._asked[key]

    # --- The client's side --------------------------------------------------------------------------------------------

    @property
    def _id(self) -> MessageId:
        assert self._request.id is not None  # A request has an id.
        return self._request.id

    async def _respond(self, response: Message) -> None:
        await self.answer.put(dump(response.body()))
        self.answer.end()

    def _gather(self) -> None:
        """Ask the client soon, with whatever else the server asks until then."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._ask_client)

    def _ask_client(self) -> None:
        """The client's answer ends with the questions, and the next one goes on (M-15)."""
        self._gathering = None
        if self._finished or not self._waiting or not self._here.is_set() or not self.answer.open:
            return
        questions, self._waiting = list(self._waiting.values()), {}
        try:
            handle = self._parked.park(
                self, principal_id=self._session.principal_id, digest=digest_of(self._request), expire=self.stop
            )
        except TooManyParked:
            self._listeners.spawn(self._send_all([declined(question) for question in questions]))
            return
        self._asked = {f"input-{number}": question for number, question in enumerate(questions, 1)}
        self._here.clear()
        asked = {key: _input_request(question) for key, question in self._asked.items()}
        result = {"resultType": "input_required", "inputRequests": asked, "requestState": handle}
        self.answer.put_now(dump(result_response(self._id, result).body()))
        self.answer.end()
        self._asking.set()

    def _reply_to(self, question: Message, said: Any) -> Message:
        assert question.id is not None  # A request has an id.
        return result_response(question.id, said) if type(said) is dict else declined(question)

    async def _send_all(self, replies: list[Message]) -> None:
        """Answer the server; where it cannot be reached, its own stream says so too."""
        try:
            for reply in replies:
                accepted = await self._leg.in_session(self._fields, reply, self._session)
                accepted.close()
        except UpstreamError as error:
            logger.debug("an answer to a server's question was not sent: %s", error.code)

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def _left(self, ended: bool) -> None:
        """In the modern era leaving cancels (M-13)."""
        if not ended:
            self.stop()

    def _over(self) -> None:
        """The session is free of it."""
        self._session.busy -= 1
        if self in self._session.calls:
            self._session.calls.remove(self)
        if self._gathering is not None:
            self._gathering.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._over()
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
                accepted = await self._leg.in_session(self._fields, message, self._session)
                accepted.close()
        except (UpstreamError, TimeoutError) as error:
            logger.debug("a cancellation was not sent: %s", type(error).__name__)


def _input_request(question: Message) -> dict[str, Any]:
    asked: dict[str, Any] = {"method": question.method}
    return asked if question.params is None else {**asked, "params": question.params}
