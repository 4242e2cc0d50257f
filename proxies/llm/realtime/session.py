"""One Realtime connection while it is open: two sockets, the events between them, and how each end learns of the other's."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from proxies.contract import Outcome
from proxies.exchange import Exchange
from proxies.llm.realtime.from_client import ClientSide
from proxies.llm.realtime.from_upstream import ProviderSide
from proxies.llm.realtime.messages import error_event
from proxies.llm.realtime.state import RealtimeState
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps import authenticate
from proxies.transport.errors import UpstreamError, UpstreamIdleTimeout
from proxies.transport.websocket_client import WebSocketConnection
from proxies.transport.websocket_server import GOING_AWAY, INTERNAL_ERROR, POLICY, SERVICE_RESTART, ServerWebSocket

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 900.0
"""How long nobody may say anything; providers end a session after an hour at most."""
CHECK_SECONDS: Final = 5.0
SEND_SECONDS: Final = 30.0
"""How long the provider may leave an event unread."""
_NORMAL: Final = 1000
_NEVER_SENT: Final = frozenset({1004, 1005, 1006, 1015})
"""Codes that say how a connection ended and cannot be sent on one (RFC 6455 §7.4.1)."""


Ending = UpstreamError | Refusal | None
"""Why one direction of a connection ended: the provider failed, nothing more can be judged, or the client left."""


class RealtimeSession:
    """One connection (`Link`, `Carrier`)."""

    def __init__(self, exchange: Exchange, socket: ServerWebSocket, upstream: WebSocketConnection, model: str) -> None:
        self._exchange = exchange
        self._socket = socket
        self._upstream = upstream
        self._pool = exchange.proxy.upstream
        self._state = RealtimeState(exchange, model)
        self._client_side = ClientSide(self._state, self)
        self._provider_side = ProviderSide(self._state, self)
        self._active_at = time.monotonic()
        self._closed = False
        """Whether the gateway has closed: nothing goes on any more."""
        self._draining = False

    def __repr__(self) -> str:
        return f"<RealtimeSession {self._exchange.id}>"

    async def run(self) -> None:
        """Carry events until either side closes."""
        carriers = self._exchange.proxy.carriers
        if carriers is not None:
            carriers.add(self)
        self._exchange.response.end_on_drain(self._drain)
        loop = asyncio.get_running_loop()
        pumps = {loop.create_task(self._from_client()), loop.create_task(self._from_upstream())}
        try:
            failure = await self._first_end(pumps)
        except BaseException as error:
            # The gateway gives up on this connection: what is known of its calls is recorded.
            outcome: Outcome = "failed" if isinstance(error, Exception) else "client_closed"
            self._provider_side.end(outcome)
            self._end_turns(outcome)
            self._upstream.abort()
            self.close(INTERNAL_ERROR, "the gateway cannot go on")
            raise
        finally:
            for pump in pumps:
                pump.cancel()
            if carriers is not None:
                carriers.discard(self)
        await asyncio.wait(pumps)
        await self._end(failure)
        self._socket.finish()

    async def _first_end(self, pumps: set[asyncio.Task[Ending]]) -> Ending:
        """Wait until one side ends; why nothing can go on, or None where the client left."""
        while True:
            done, _ = await asyncio.wait(pumps, timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                failures = [pump.result() for pump in done]
                return next((failure for failure in failures if failure is not None), None)
            await self._provider_side.tell_overdue()
            if time.monotonic() - self._active_at > IDLE_SECONDS:
                self.close(GOING_AWAY, "nobody said anything for a long time")
                return None

    async def _from_client(self) -> Ending:
        try:
            while (text := await self._socket.receive()) is not None and not self._closed:
                self._active_at = time.monotonic()
                self._exchange.request_bytes += len(text)
                await self._client_side.take(text.encode())
        except (UpstreamError, Refusal) as error:
            return error
        except ConnectionResetError:
            return None  # The client left while it was being told something.
        return None

    async def _from_upstream(self) -> Ending:
        try:
            while not self._closed:
                message = await self._upstream.receive()
                self._active_at = time.monotonic()
                await self._provider_side.take(message)
                if self._draining and self._provider_side.is_quiet:
                    self.close(GOING_AWAY, "the proxy stops")
        except (UpstreamError, Refusal) as error:
            return error
        except ConnectionResetError:
            return None
        return None

    # --- The end --------------------------------------------------------------------------------------------------

    async def _end(self, failure: Ending) -> None:
        """Tell the side that is still there, and record what has no end of its own."""
        exchange = self._exchange
        exchange.lap("downstream", waiting=True)
        if failure is None or self._socket.over:
            self._provider_side.end("client_closed")
            self._end_turns("client_closed")
            await self._upstream.aclose(_sendable(self._socket.close_code, GOING_AWAY))
            return
        was_quiet = self._provider_side.is_quiet
        code = self._upstream.close_code
        held = self._provider_side.end("upstream_error")
        self._end_turns("upstream_error")
        if not (was_quiet and code == _NORMAL):
            refusal = _refusal(failure)
            exchange.outcome, exchange.error_code, exchange.reason = refusal.outcome, refusal.code, refusal.message
            held.append(error_event(refusal, exchange.id))
        try:
            for message in held:
                await self.to_client(message)
        except ConnectionResetError:
            logger.debug("the client of %s left with the provider", exchange.id)
        self._socket.close(_sendable(code, INTERNAL_ERROR), "the connection to the provider is closed")
        self._upstream.abort()

    def _end_turns(self, outcome: Outcome) -> None:
        """What was said and got no response is recorded all the same."""
        for turn in self._state.open_turns():
            if turn.asks:
                turn.exchange.outcome = outcome
                turn.exchange.truncated = True
            if turn.asks or turn.is_worth_a_record:
                turn.exchange.record()

    def _drain(self) -> None:
        """The listener drains: responses that are running may end."""
        self._draining = True
        if self._provider_side.is_quiet:
            self.close(GOING_AWAY, "the proxy stops")

    # --- Link -----------------------------------------------------------------------------------------------------

    async def to_client(self, message: bytes) -> None:
        """See `Link`."""
        self._exchange.response_bytes += len(message)
        await self._socket.send(message.decode())

    async def to_upstream(self, message: bytes) -> None:
        """See `Link`."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._upstream.send(message)
        except TimeoutError:
            raise UpstreamIdleTimeout("The upstream does not read any more.") from None

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._closed = True
        if not self._socket.over:
            self._exchange.reason = f"The connection was closed: {reason}."
            self._socket.close(code, reason)

    # --- Carrier --------------------------------------------------------------------------------------------------

    def recheck(self, proxy: ProxyRuntime) -> None:
        """See `Carrier`."""
        if proxy.upstream is not self._pool:
            self.close(SERVICE_RESTART, "the provider behind the proxy is another one now")
        elif not authenticate.still_holds(proxy, self._exchange.key_digest, self._exchange.principal.id):
            self.close(POLICY, "the key is not valid any more")
        else:
            self._state.proxy = proxy


def _refusal(failure: UpstreamError | Refusal) -> Refusal:
    if isinstance(failure, Refusal):
        return failure
    return Refusal(
        failure.status, failure.code, failure.message, remediation=failure.remediation, outcome="upstream_error"
    )


def _sendable(code: int | None, otherwise: int) -> int:
    """A close code as it may be sent on the other connection."""
    return otherwise if code is None or code in _NEVER_SENT else code
