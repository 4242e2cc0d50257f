"""A legacy server as modern clients see it: no session to them, one for each principal there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from proxies.mcp.bridge.answers import in_its_form
from proxies.mcp.bridge.bridged_call import BridgedCall
from proxies.mcp.bridge.leg import Fields, RefusedByStatus, ServerLeg, without_era
from proxies.mcp.bridge.listeners import Listeners
from proxies.mcp.bridge.parked import Parked, digest_of
from proxies.mcp.bridge.server_sessions import ServerSession, ServerSessions
from proxies.mcp.bridge.translate import META_CLIENT, discover_result, shared_capabilities, to_legacy_request
from proxies.mcp.drain import Answer
from proxies.mcp.eras import META_CAPABILITIES, META_LOG_LEVEL
from proxies.mcp.messages import INVALID_PARAMS, Message, error_response, result_response
from proxies.mcp.texts import TRACE_HEADERS
from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 2.0


class ModernClients:
    """The modern requests to one legacy server."""

    def __init__(self, leg: ServerLeg) -> None:
        self._leg = leg
        self._sessions = ServerSessions(leg)
        self._parked: Parked[BridgedCall] = Parked()
        self._listeners = Listeners(leg)
        self._fields: Fields = []

    def __repr__(self) -> str:
        return f"<ModernClients sessions={len(self._sessions)} parked={len(self._parked)}>"

    async def aclose(self) -> None:
        """End what waits and every session."""
        for call in self._parked.clear():
            call.stop()
        self._listeners.close()
        self._sessions.close(self._fields)
        await self._sessions.settle(GOODBYE_SECONDS)

    async def post(self, message: Message, fields: Fields, principal_id: str) -> Answer:
        """One modern message; raises UpstreamError."""
        if message.kind != "request":
            return StatusAnswer(202)
        assert message.id is not None  # A request has an id.
        fields = without_era(fields)
        # What ends the sessions later belongs to nobody's trace.
        self._fields = [field for field in fields if field[0] not in TRACE_HEADERS]
        params = message.params or {}
        if "requestState" in params:
            return await self._resume(message, principal_id)
        meta = params.get("_meta")
        meta = meta if type(meta) is dict else {}
        capabilities = shared_capabilities(meta.get(META_CAPABILITIES))

        async def open_session() -> ServerSession:
            return await self._sessions.session(fields, principal_id, capabilities, meta.get(META_CLIENT))

        session = await open_session()
        if message.method == "server/discover":
            return JSONAnswer(200, dump(result_response(message.id, discover_result(session.initialized)).body()))
        if message.method == "subscriptions/listen":
            return await self._listeners.listen(session, message, fields)
        level = meta.get(META_LOG_LEVEL)
        await self._set_level(session, level, fields)
        call, received = await self._send(session, message, fields)
        if received.status == 404 and session.id is not None:
            # The server has lost the session, and so has not looked at the request.
            await received.aclose()
            self._sessions.lost(session)
            session = await open_session()
            call, received = await self._send(session, message, fields)
        if received.status != 200:
            await received.aclose()
            raise RefusedByStatus(received.status)
        call.start(received, capabilities=frozenset(capabilities))
        return await in_its_form(call.answer)

    async def _send(self, session: ServerSession, message: Message, fields: Fields) -> tuple[BridgedCall, Answer]:
        sent, token = to_legacy_request(message, session.next_id())
        call = BridgedCall(
            self._leg, session, message, sent, token, fields=fields, parked=self._parked, listeners=self._listeners
        )
        received = await self._leg.legacy(
            fields, sent, principal_id=session.principal_id, session_id=session.id, version=session.version
        )
        return call, received

    async def _resume(self, message: Message, principal_id: str) -> Answer:
        """The retry of a request that waits: it goes on where the server is waiting."""
        params = message.params or {}
        call = self._parked.take(params["requestState"], principal_id=principal_id, digest=digest_of(message))
        if call is None:
            error = error_response(message.id, INVALID_PARAMS, "The request state is unknown, used or expired.")
            return JSONAnswer(200, dump(error.body()))
        responses = params.get("inputResponses")
        return await in_its_form(call.resume(message, responses if type(responses) is dict else {}))

    async def _set_level(self, session: ServerSession, level: Any, fields: Fields) -> None:
        """A level is set for a whole session there; what a request did not ask for is dropped on its way back."""
        if type(level) is not str or level == session.log_level or "logging" not in session.capabilities:
            return
        session.log_level = level
        request = Message(kind="request", id=session.next_id(), method="logging/setLevel", params={"level": level})
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                answer = await self._leg.legacy(
                    fields, request, principal_id=session.principal_id, session_id=session.id, version=session.version
                )
                await self._leg.response_to(answer, request)
        except (UpstreamError, TimeoutError) as error:
            logger.debug("a log level could not be set: %s", type(error).__name__)
