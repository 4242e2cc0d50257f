"""The stream of a bridged session: what a modern server tells a subscription, told to a legacy client."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from proxies.mcp.bridge.leg import Fields, ServerLeg
from proxies.mcp.bridge.translate import from_listen, listen_filter
from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, MODERN_VERSIONS
from proxies.mcp.messages import Message
from proxies.mcp.upstreams.answers import StreamAnswer
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 60.0


class SessionStream:
    """It subscribes anew when what the client wants to hear of has changed, and when the server has ended it."""

    def __init__(
        self,
        leg: ServerLeg,
        *,
        fields: Fields,
        principal_id: str,
        capabilities: dict[str, Any],
        subscribed: set[str],
    ) -> None:
        self.answer = StreamAnswer(lambda _ended: self.close())
        self._leg = leg
        self._fields = fields
        self._principal_id = principal_id
        self._capabilities = capabilities
        self._subscribed = subscribed
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def renew(self) -> None:
        """What the client subscribed to has changed."""
        self._changed.set()

    def close(self) -> None:
        """End the stream and the subscription; harmless when called again."""
        self._task.cancel()

    async def _run(self) -> None:
        wait_seconds = RETRY_SECONDS
        while self.answer.open:
            self._changed.clear()
            wanted = listen_filter(self._capabilities, self._subscribed)
            heard = False
            if wanted:
                listening = asyncio.ensure_future(self._listen(wanted))
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({listening, changed}, return_when=asyncio.FIRST_COMPLETED)
                    heard = listening.done() and not listening.cancelled() and listening.result()
                finally:
                    listening.cancel()
                    changed.cancel()
            else:
                await self._changed.wait()
            if not self._changed.is_set():
                wait_seconds = RETRY_SECONDS if heard else min(2 * wait_seconds, MAX_RETRY_SECONDS)
                await asyncio.sleep(wait_seconds)

    async def _listen(self, wanted: dict[str, Any]) -> bool:
        """One subscription to its end; whether the server said anything in it."""
        meta = {META_VERSION: MODERN_VERSIONS[-1], META_CAPABILITIES: {}}
        request = Message(
            kind="request", id=1, method="subscriptions/listen", params={"notifications": wanted, "_meta": meta}
        )
        heard = False
        try:
            received = await self._leg.modern(self._fields, request, principal_id=self._principal_id, endless=True)
            try:
                if received.status != 200:
                    return False
                async for message in self._leg.messages(received):
                    heard = True
                    told = from_listen(message)
                    if told is not None:
                        await self.answer.put(dump(told.body()))
            finally:
                received.close()
        except UpstreamError as error:
            logger.debug("a subscription ended: %s", error.code)
        return heard

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.answer.end()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a bridged stream failed inside the gateway", exc_info=error)
