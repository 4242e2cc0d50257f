"""A modern server as legacy clients see it: sessions that exist here only, each of their requests a modern one there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from proxies.mcp.bridge.answers import in_its_form
from proxies.mcp.bridge.eras import is_evidence
from proxies.mcp.bridge.leg import Fields, RefusedByStatus, ServerLeg
from proxies.mcp.bridge.questions import Questions
from proxies.mcp.bridge.session_stream import SessionStream
from proxies.mcp.bridge.translate import initialize_result, shared_capabilities, to_legacy_response, to_modern_request
from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.drain import Answer
from proxies.mcp.gates import declined
from proxies.mcp.messages import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    MODERN_ERRORS,
    UPSTREAM_FAILED,
    Message,
    MessageId,
    error_response,
    result_response,
)
from proxies.mcp.methods import CLIENT_REQUESTS, INPUT_REQUESTS
from proxies.mcp.param_headers import InvalidAnnotation, header_annotations
from proxies.mcp.upstream import SESSION_HEADER
from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer, StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError, UpstreamProtocolError

MAX_SESSIONS: Final = 20_000
MAX_SUBSCRIPTIONS: Final = 200
MAX_ROUNDS: Final = 20
"""How often a server may ask for input within one call."""
STATE_ONLY_SECONDS: Final = 0.25
"""What a retry waits that the server asked for without asking for input."""
MAX_PAGES: Final = 50
SESSION_ID_BYTES: Final = 24
SESSION_PREFIX: Final = "bridge-"
"""What tells a session that exists here only from one of the server."""


class BridgedSession:
    """One legacy client's session with a modern server."""

    def __init__(self, principal_id: str, fields: Fields, params: dict[str, Any], discovered: dict[str, Any]) -> None:
        self.id = SESSION_PREFIX + secrets.token_urlsafe(SESSION_ID_BYTES)
        self.principal_id = principal_id
        self.fields = fields
        """What goes with every request of it."""
        client = params.get("clientInfo")
        self.capabilities = shared_capabilities(params.get("capabilities"))
        self.client_info: dict[str, Any] | None = client if type(client) is dict else None
        self.server_capabilities = shared_capabilities(discovered.get("capabilities"))
        self.log_level: str | None = None
        self.subscribed: set[str] = set()
        self.questions = Questions()
        self.calls: dict[tuple[type, MessageId], asyncio.Task[None]] = {}
        self.stream: SessionStream | None = None

    def close(self) -> None:
        """Its client is gone."""
        self.questions.close()
        for task in tuple(self.calls.values()):
            task.cancel()
        if self.stream is not None:
            self.stream.close()


class LegacyClients:
    """The bridged sessions of one upstream."""

    def __init__(self, leg: ServerLeg, on_doubt: Callable[[], None]) -> None:
        """`on_doubt` is called when the server does not answer like one of the modern era."""
        self._leg = leg
        self._on_doubt = on_doubt
        self._sessions: dict[str, BridgedSession] = {}
        self._learned = Catalogue()
        self._last_id = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, session_id: str) -> BridgedSession | None:
        """A session that the bridge has opened."""
        return self._sessions.get(session_id)

    def initialize(self, message: Message, fields: Fields, principal_id: str, discovered: dict[str, Any]) -> Answer:
        """Open a session with a server that was just discovered for this principal."""
        params = message.params or {}
        if len(self._sessions) >= MAX_SESSIONS:
            self.forget(next(iter(self._sessions)))
        session = BridgedSession(principal_id, fields, params, discovered)
        self._sessions[session.id] = session
        assert message.id is not None  # A request has an id.
        result = initialize_result(discovered, str(params.get("protocolVersion")))
        body = dump(result_response(message.id, result).body())
        return JSONAnswer(200, body, [(SESSION_HEADER, session.id)])

    def forget(self, session_id: str) -> None:
        """A session is over; harmless for one that does not exist."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Forget all of them."""
        for session_id in tuple(self._sessions):
            self.forget(session_id)

    async def post(self, session: BridgedSession, messages: Sequence[Message], fields: Fields) -> Answer:
        """What a legacy client has posted: one message or a batch; raises UpstreamError."""
        session.fields = fields
        for message in messages:
            if message.kind == "response":
                session.questions.answered(message)
            elif message.kind == "notification":
                self._told(session, message)
        requests = [message for message in messages if message.kind == "request"]
        if not requests:
            return StatusAnswer(202)
        answer = StreamAnswer(lambda ended: None if ended else self._left(session, requests))
        work = [self._serve(session, request, answer, requests) for request in requests]
        for request, one in zip(requests, work, strict=True):
            task = self._spawn(one)
            key = _key(request)
            session.calls[key] = task
            task.add_done_callback(lambda _, key=key: self._served(session, key, answer, requests))  # type: ignore[misc]
        return await in_its_form(answer)

    def get(self, session: BridgedSession) -> Answer:
        """The stream of a session; a newer one takes the place of an older one."""
        if session.stream is not None:
            session.stream.close()
        session.stream = SessionStream(
            self._leg,
            fields=session.fields,
            principal_id=session.principal_id,
            capabilities=session.server_capabilities,
            subscribed=session.subscribed,
        )
        return session.stream.answer

    # --- Messages -----------------------------------------------------------------------------------------------------

    def _told(self, session: BridgedSession, message: Message) -> None:
        """A notification. Only a cancellation means something there: leaving the call is how the server is told."""
        named = (message.params or {}).get("requestId")
        if message.method == "notifications/cancelled" and isinstance(named, int | str):
            task = session.calls.get((type(named), named))
            if task is not None:
                task.cancel()

    async def _serve(
        self, session: BridgedSession, request: Message, answer: StreamAnswer, requests: list[Message]
    ) -> None:
        try:
            response = self._local(session, request) or await self._call(session, request, answer)
        except UpstreamError as error:
            if len(requests) == 1:
                answer.fail(error)
                return
            response = error_response(request.id, UPSTREAM_FAILED, error.message)
        await answer.put(dump(response.body()))
        # Now, so that an answer that is only this message is seen to be.
        self._served(session, _key(request), answer, requests)

    def _local(self, session: BridgedSession, request: Message) -> Message | None:
        """The response to what a modern server has no request for."""
        assert request.id is not None  # A request has an id.
        params = request.params or {}
        if request.method == "logging/setLevel":
            session.log_level = str(params.get("level"))
        elif request.method == "resources/subscribe" and len(session.subscribed) < MAX_SUBSCRIPTIONS:
            session.subscribed.add(str(params.get("uri")))
        elif request.method == "resources/unsubscribe":
            session.subscribed.discard(str(params.get("uri")))
        elif request.method != "ping":
            if request.method in CLIENT_REQUESTS["modern"]:
                return None
            return error_response(request.id, METHOD_NOT_FOUND, "Method not found")
        if session.stream is not None and request.method.startswith("resources/"):
            session.stream.renew()
        return result_response(request.id, {})

    async def _call(self, session: BridgedSession, request: Message, answer: StreamAnswer) -> Message:
        """A request, and as many retries of it as the server wants input for."""
        assert request.id is not None  # A request has an id.
        given: dict[str, Any] = {}
        for _ in range(MAX_ROUNDS):
            asked = Message(
                kind="request", id=request.id, method=request.method, params={**(request.params or {}), **given}
            )
            response = await self._ask_mirrored(session, asked, answer)
            result = response.result
            if result is None or result.get("resultType") != "input_required":
                if result is not None and request.method == "tools/list":
                    self._learn(result)
                return to_legacy_response(response, request.id)
            responses = await self._ask_client(session, result.get("inputRequests"), answer)
            given = {"requestState": result["requestState"]} if "requestState" in result else {}
            if isinstance(responses, Message):
                return error_response(request.id, INTERNAL_ERROR, "The client did not give what the server asked for.")
            if responses:
                given["inputResponses"] = responses
            else:
                await asyncio.sleep(STATE_ONLY_SECONDS)
        return error_response(request.id, INTERNAL_ERROR, "The server asked for input too often.")

    async def _ask_mirrored(self, session: BridgedSession, request: Message, answer: StreamAnswer) -> Message:
        """Ask, and where fields were missing that nobody could know of, list the tools and ask once more: a request that
        was refused for its fields has done nothing."""
        response = await self._ask_server(session, request, answer)
        name = (request.params or {}).get("name")
        refused_for_fields = response.error is not None and response.error["code"] == HEADER_MISMATCH
        if refused_for_fields and request.method == "tools/call" and not self._learned.wanted_headers(str(name)):
            await self._list_tools(session)
            if self._learned.wanted_headers(str(name)):
                return await self._ask_server(session, request, answer)
        return response

    async def _list_tools(self, session: BridgedSession) -> None:
        cursor: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            request = Message(kind="request", id=0, method="tools/list", params=cursor)
            listed = (await self._ask_server(session, request, None)).result or {}
            self._learn(listed)
            if type(listed.get("nextCursor")) is not str:
                return
            cursor = {"cursor": listed["nextCursor"]}

    async def _ask_server(self, session: BridgedSession, request: Message, answer: StreamAnswer | None) -> Message:
        self._last_id += 1
        sent = to_modern_request(
            request,
            id=self._last_id,
            capabilities=session.capabilities,
            client_info=session.client_info,
            log_level=session.log_level,
        )
        name = (request.params or {}).get("name")
        annotated = self._learned.wanted_headers(name) if request.method == "tools/call" and type(name) is str else ()
        received = await self._leg.modern(session.fields, sent, principal_id=session.principal_id, annotated=annotated)
        try:
            if received.status not in (200, 400, 404):
                if is_evidence(received.status):
                    self._on_doubt()
                raise RefusedByStatus(received.status)
            async for message in self._leg.messages(received):
                if message.kind == "notification" and answer is not None:
                    await answer.put(dump(message.body()))
                elif message.kind == "response" and (message.id == sent.id or message.error is not None):
                    self._doubt(received.status, message)
                    return message
            return error_response(request.id, UPSTREAM_FAILED, "The server ended its answer before the response.")
        except UpstreamProtocolError:
            if received.status != 200:
                self._on_doubt()
            raise
        finally:
            received.close()

    async def _ask_client(
        self, session: BridgedSession, requests: Any, answer: StreamAnswer
    ) -> dict[str, Any] | Message:
        """What the client says to each of the requests; a message where it does not say what can be passed on."""
        if type(requests) is not dict:
            return {}
        if not all(type(one) is dict and one.get("method") in INPUT_REQUESTS for one in requests.values()):
            return error_response(None, METHOD_NOT_FOUND, "Method not found")
        open_questions: dict[str, tuple[asyncio.Future[Message], Message]] = {}
        responses: dict[str, Any] = {}
        try:
            for key, asked in requests.items():
                params = asked.get("params")
                question, message = session.questions.ask(asked["method"], params if type(params) is dict else None)
                open_questions[key] = (question, message)
                if not question.done():
                    await answer.put(dump(message.body()))
            for key, (question, message) in open_questions.items():
                said = await question
                if said.error is not None and (said := declined(message)).error is not None:
                    return said
                responses[key] = said.result or {}
            return responses
        finally:
            for question, message in open_questions.values():
                if not question.done():
                    # Nobody waits for it any more, and its place is free again.
                    question.cancel()
                    if answer.open:
                        answer.put_now(dump(_withdrawal(message).body()))

    def _doubt(self, status: int, response: Message) -> None:
        if status != 200 and response.error is not None and response.error["code"] not in MODERN_ERRORS:
            self._on_doubt()

    def _learn(self, result: dict[str, Any]) -> None:
        """Keep which arguments must be mirrored in fields: a legacy client does not know of that (M-03)."""
        for tool in result.get("tools", []):
            try:
                self._learned.learn(tool["name"], header_annotations(tool.get("inputSchema")))
            except (InvalidAnnotation, KeyError, TypeError, AttributeError):
                continue  # Whether it may be offered is judged where it is listed.

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def _served(
        self, session: BridgedSession, key: tuple[type, MessageId], answer: StreamAnswer, requests: list[Message]
    ) -> None:
        session.calls.pop(key, None)
        if not any(_key(request) in session.calls for request in requests):
            answer.end()

    def _left(self, session: BridgedSession, requests: list[Message]) -> None:
        """Nobody reads the answer any more, not even to drop it."""
        for request in requests:
            task = session.calls.get(_key(request))
            if task is not None:
                task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _withdrawal(question: Message) -> Message:
    return Message(kind="notification", method="notifications/cancelled", params={"requestId": question.id})


def _key(request: Message) -> tuple[type, MessageId]:
    """Typed, because the ids 1 and "1" differ in JSON-RPC."""
    assert request.id is not None  # A request has an id.
    return type(request.id), request.id
