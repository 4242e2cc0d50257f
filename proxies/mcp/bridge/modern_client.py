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
from proxies.mcp.methods import INPUT_METHODS
from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 2.0


class ModernClients:
    """The modern requests to one legacy server."""

    def __init__(self, leg: ServerLeg) -> None:
        self._leg = leg
        self._parked: Parked[BridgedCall] = Parked()
        self._listeners = Listeners(leg)
        self._sessions = ServerSessions(leg, on_end=self._listeners.drop)

    def __repr__(self) -> str:
        return f"<ModernClients sessions={len(self._sessions)} parked={len(self._parked)}>"

    async def aclose(self) -> None:
        """End what waits and every session."""
        for call in self._parked.clear():
            call.stop()
        self._sessions.close()
        self._listeners.close()
        await self._sessions.settle(GOODBYE_SECONDS)

    async def post(self, message: Message, fields: Fields, principal_id: str) -> Answer:
        """One modern message; raises UpstreamError."""
        if message.kind != "request":
            return StatusAnswer(202)
        assert message.id is not None  # A request has an id.
        fields = without_era(fields)
        params = message.params or {}
        if "requestState" in params:
            return await self._resume(message, principal_id)
        meta = params.get("_meta")
        meta = meta if type(meta) is dict else {}
        capabilities = shared_capabilities(meta.get(META_CAPABILITIES))

        async def open_session() -> ServerSession:
            session = await self._sessions.session(fields, principal_id, capabilities, meta.get(META_CLIENT))
            if session.asks and message.method in INPUT_METHODS:
                await self._listeners.hear(session)
            return session

        session = await open_session()
        if message.method == "server/discover":
            return JSONAnswer(200, dump(result_response(message.id, discover_result(session.initialized)).body()))
        if message.method == "subscriptions/listen":
            return await self._listeners.listen(session, message, fields)
        await self._set_level(session, meta.get(META_LOG_LEVEL), fields)
        call = self._call(session, message, fields, capabilities)
        status = await call.send()
        if status == 404 and session.id is not None:
            # The server has lost the session, and so has not looked at the request.
            self._sessions.lost(session)
            call = self._call(await open_session(), message, fields, capabilities)
            status = await call.send()
        if status != 200:
            raise RefusedByStatus(status)
        return await in_its_form(call.answer)

    def _call(
        self, session: ServerSession, message: Message, fields: Fields, capabilities: dict[str, Any]
    ) -> BridgedCall:
        return BridgedCall(
            self._leg,
            session,
            message,
            to_legacy_request(message, session.next_id()),
            fields=fields,
            capabilities=capabilities,
            parked=self._parked,
            listeners=self._listeners,
        )

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
                answer = await self._leg.in_session(fields, request, session)
                await self._leg.response_to(answer, request)
        except (UpstreamError, TimeoutError) as error:
            logger.debug("a log level could not be set: %s", type(error).__name__)
