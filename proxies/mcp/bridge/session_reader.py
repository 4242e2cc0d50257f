"""The stream of a session with a legacy server, read while somebody may want to hear what comes on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from proxies.mcp.bridge.leg import ServerLeg
from proxies.mcp.bridge.server_sessions import ServerSession
from proxies.mcp.messages import METHOD_NOT_FOUND, Message, error_response, result_response
from proxies.mcp.upstreams.answers import SESSION_GONE
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 60.0
_NOT_IN_A_CALL: Final = (
    "The client speaks a revision of MCP in which a server asks only inside a call, "
    "and it cannot be told which call this request is about."
)


class SessionReader:
    """One stream after the other, until it is stopped or the server has none. `tell` hears of every notification."""

    def __init__(
        self, leg: ServerLeg, session: ServerSession, tell: Callable[[ServerSession, Message], Awaitable[None]]
    ) -> None:
        self._leg = leg
        self._session = session
        self._tell = tell
        self._settled = asyncio.Event()
        """Set once the first stream is open, or will not be."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def __repr__(self) -> str:
        return f"<SessionReader {'open' if self._settled.is_set() else 'opening'}>"

    async def open(self, seconds: float) -> None:
        """Wait until the server can say something on it, but not for long."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            # Some servers send nothing before they have something to say: nobody waits for that again.
            self._settled.set()

    def stop(self) -> None:
        """Nobody wants to hear anything."""
        self._task.cancel()

    async def _run(self) -> None:
        wait_seconds = RETRY_SECONDS
        while True:
            heard = False
            session = self._session
            try:
                received = await self._leg.legacy_stream(
                    session.fields, principal_id=session.principal_id, session_id=session.id, version=session.version
                )
                self._settled.set()
                try:
                    if received.status in (400, 404, 405, SESSION_GONE):
                        return  # It has none: what it announces comes with the answers to calls.
                    if received.status == 200:
                        async for message in self._leg.messages(received):
                            heard = True
                            await self._take(message)
                finally:
                    received.close()
            except UpstreamError as error:
                logger.debug("the stream of a session ended: %s", error.code)
            self._settled.set()
            wait_seconds = RETRY_SECONDS if heard else min(2 * wait_seconds, MAX_RETRY_SECONDS)
            await asyncio.sleep(wait_seconds)

    async def _take(self, message: Message) -> None:
        if message.kind == "notification":
            await self._tell(self._session, message)
        elif message.kind == "request" and message.id is not None:
            calls = self._session.calls
            if message.method == "ping":
                reply = result_response(message.id, {})
            elif len(calls) == 1:
                calls[0].ask(message)
                return
            else:
                reply = error_response(message.id, METHOD_NOT_FOUND, _NOT_IN_A_CALL)
            accepted = await self._leg.in_session(self._session.fields, reply, self._session)
            accepted.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._settled.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the stream of a session cannot be read any more", exc_info=error)
