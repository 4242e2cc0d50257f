"""An upstream that speaks the era of whoever asks, whichever the server speaks (E-05)."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.mcp.bridge.eras import Discovery, EraDetector, is_evidence
from proxies.mcp.bridge.leg import Fields, RefusedByStatus, ServerLeg, without_era
from proxies.mcp.bridge.legacy_client import SESSION_PREFIX, BridgedSession, LegacyClients
from proxies.mcp.bridge.modern_client import ModernClients
from proxies.mcp.drain import Answer
from proxies.mcp.eras import VERSION_HEADER, names_modern_version
from proxies.mcp.messages import UNSUPPORTED_VERSION, Message, error_response, parse_message
from proxies.mcp.upstream import LAST_EVENT_HEADER, SESSION_HEADER, media_type
from proxies.mcp.upstreams.answers import SESSION_GONE, JSONAnswer, StatusAnswer
from proxies.mcp.upstreams.interface import Upstream
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

MAX_INITIALIZE_BYTES: Final = 1024 * 1024


class BridgeUpstream:
    """See `interface.Upstream`. What both sides speak goes through as it is."""

    def __init__(self, server: Upstream, eras: EraDetector, leg: ServerLeg) -> None:
        self.server = server
        self.eras = eras
        self._leg = leg
        self._doubt: asyncio.Task[None] | None = None
        self._legacy_clients = LegacyClients(leg, self._in_doubt)
        self._modern_clients = ModernClients(leg)
        self._newest: tuple[Fields, str] = ([], "")

    def __repr__(self) -> str:
        return f"<BridgeUpstream {self.eras.verdict} {self.server!r}>"

    @property
    def base_path(self) -> str:
        """See `Upstream`."""
        return self.server.base_path

    @property
    def tls_key_sha256(self) -> str:
        """See `Upstream`."""
        return self.server.tls_key_sha256

    @property
    def problem(self) -> str:
        """See `Upstream`."""
        return self.server.problem

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        principal_id: str = "",
        endless: bool = False,
    ) -> Answer:
        """See `Upstream`."""
        fields = dict(headers)
        session = self._legacy_clients.find(fields.get(SESSION_HEADER, ""))
        if session is not None and session.principal_id == principal_id:
            return await self._bridged(session, method, headers, body)
        if fields.get(SESSION_HEADER, "").startswith(SESSION_PREFIX):
            return StatusAnswer(SESSION_GONE if method == "GET" else 404)  # One that is over.

        async def unchanged() -> Answer:
            return await self.server.request(method, target, headers, body, principal_id=principal_id, endless=endless)

        if method != "POST":
            return await unchanged()
        modern = names_modern_version(fields.get(VERSION_HEADER))
        value = await off_loop.sized(len(body), partial(parse, body))
        if type(value) is list or not (modern or value.get("method") == "initialize"):
            return await unchanged()
        message = parse_message(value)
        plain = without_era(headers)
        self._newest = (plain, principal_id)
        if not modern:
            return await self._initialize(message, plain, principal_id, await unchanged())
        found = await self.eras.era(plain, principal_id)
        if found.era == "unknown":
            return StatusAnswer(found.status)
        if found.era == "modern":
            answer = await unchanged()
            if not is_evidence(answer.status) or media_type(answer) == "application/json":
                return answer
            # What a modern server never says: perhaps it is none any more.
            if (await self._asked_again(answer, plain, principal_id)).era != "legacy":
                return answer
            answer.close()
        self.eras.check()
        try:
            return await self._modern_clients.post(message, headers, principal_id)
        except RefusedByStatus as refused:
            # What a legacy server seldom says: perhaps it has been updated.
            if is_evidence(refused.refused_with):
                found = await self.eras.era(plain, principal_id, fresh=True)
                if found.era == "modern":
                    return await unchanged()
            return StatusAnswer(refused.refused_with)

    def forget(self, session_id: str) -> None:
        """See `Upstream`."""
        if self._legacy_clients.find(session_id) is not None:
            self._legacy_clients.forget(session_id)
        else:
            self.server.forget(session_id)

    async def aclose(self) -> None:
        """See `Upstream`."""
        if self._doubt is not None:
            self._doubt.cancel()
        self._legacy_clients.close()
        await self._modern_clients.aclose()
        await self.server.aclose()

    # --- Legacy clients -----------------------------------------------------------------------------------------------

    async def _initialize(self, message: Message, fields: Fields, principal_id: str, answer: Answer) -> Answer:
        """A legacy client opens. A server that answers it speaks its era; one that does not may speak the other."""
        body = b""
        if answer.status == 200:
            if media_type(answer) != "application/json":
                return answer
            body = await answer.read(MAX_INITIALIZE_BYTES)
            session_id = answer.headers.get(SESSION_HEADER)
            answer = JSONAnswer(200, body, None if session_id is None else [(SESSION_HEADER, session_id)])
            if not await off_loop.sized(len(body), partial(_is_error, body)):
                return answer
        elif not is_evidence(answer.status):
            return answer
        try:
            found = await self.eras.discover(fields, principal_id)
        except BaseException:
            answer.close()
            raise
        if found.era != "modern":
            return answer
        answer.close()
        if not found.result:
            error = error_response(
                message.id, UNSUPPORTED_VERSION, "The server speaks no version that the gateway does."
            )
            return JSONAnswer(200, dump(error.body()))
        return self._legacy_clients.initialize(message, fields, principal_id, found.result)

    async def _asked_again(self, answer: Answer, fields: Fields, principal_id: str) -> Discovery:
        """Ask the server for its era while an answer of it is open; raises UpstreamError, the answer closed."""
        try:
            return await self.eras.era(fields, principal_id, fresh=True)
        except BaseException:
            answer.close()
            raise

    async def _bridged(
        self, session: BridgedSession, method: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        """A message inside a session that exists here only."""
        if method == "DELETE":
            self._legacy_clients.forget(session.id)
            return StatusAnswer(204)
        if method == "GET":
            # No event of ours has an id, so there is none to resume from.
            resumed = any(name == LAST_EVENT_HEADER for name, _ in headers)
            return StatusAnswer(400) if resumed else self._legacy_clients.get(session)
        value = await off_loop.sized(len(body), partial(parse, body))
        messages = [parse_message(one) for one in (value if type(value) is list else [value])]
        return await self._legacy_clients.post(session, messages, without_era(headers))

    def _in_doubt(self) -> None:
        """A server that counts as modern does not answer like one: ask it again, and end what cannot go on."""
        if self._doubt is None or self._doubt.done():
            self._doubt = asyncio.get_running_loop().create_task(self._ask_again())

    async def _ask_again(self) -> None:
        fields, principal_id = self._newest
        try:
            found = await self.eras.era(fields, principal_id, fresh=True)
        except UpstreamError as error:
            logger.debug("the server could not be asked for its era: %s", error.code)
            return
        if found.era == "legacy":
            # Their clients get 404 and initialize anew, then with the server itself.
            self._legacy_clients.close()


def _is_error(body: bytes) -> bool:
    try:
        value = parse(body)
    except JSONRefused:
        return False
    return type(value) is dict and "error" in value
