"""Calls that wait for a person (verdict `hold`): bounded in number and time, released once, bound to exactly what was shown.

A held call has been inspected and masked; what waits is what would be sent. While it waits its client may leave, cancel it
or be drained away, and then nothing is sent. After a release the tool is looked at again: what was approved is this
call of this definition and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from proxies import off_loop
from proxies.contract import MAX_HELD_CALLS, HeldCall, HoldEnded, Release
from proxies.exchange import Exchange
from proxies.mcp.control.declarations import Declaration
from proxies.mcp.control.held_client import HeldClient
from proxies.mcp.control.judgements import ToConsole
from proxies.mcp.messages import BLOCKED, Message, MessageId
from proxies.mcp.refusals import RPCRefusal
from rules.model import Verdict
from rules.pinning.canonical import NotCanonical, canonical_json, sha256

logger = logging.getLogger(__name__)

MAX_ARGUMENTS_BYTES: Final = 1024 * 1024
"""More than a person can read is not held but refused."""

_Outcome = Literal["released", "refused", "expired", "cancelled", "drained"]


class _Ending(NamedTuple):
    outcome: _Outcome
    by: str = ""


class _Held:
    __slots__ = ("call", "ending", "request")

    def __init__(self, call: HeldCall, request: tuple[str, type, MessageId | None]) -> None:
        self.call = call
        self.request = request
        """Session, type and value of the id of the request: what a cancellation names."""
        self.ending: asyncio.Future[_Ending] = asyncio.get_running_loop().create_future()

    def end(self, outcome: _Outcome, by: str = "") -> None:
        if not self.ending.done():
            self.ending.set_result(_Ending(outcome, by))


class Holds:
    """The held calls of this worker."""

    def __init__(self, send: ToConsole, max_calls: int = MAX_HELD_CALLS) -> None:
        self._send = send
        self._max_calls = max_calls
        self._held: dict[str, _Held] = {}

    def __repr__(self) -> str:
        return f"<Holds {len(self._held)}>"

    def __len__(self) -> int:
        return len(self._held)

    async def wait(
        self,
        exchange: Exchange,
        verdict: Verdict,
        message: Message,
        *,
        declaration: Declaration | None,
        seconds: float,
        session_id: str = "",
    ) -> None:
        """Return when a person has released the call; raises `Refusal` where that does not happen."""
        shown = partial(_held_call, exchange, verdict, message, declaration, seconds)
        call = await off_loop.sized(exchange.request_bytes, shown)
        if len(self._held) >= self._max_calls:
            raise _refusal(exchange, "Too many calls wait for approval already.", "too_many_held")
        held = _Held(call, (session_id, type(message.id), message.id))
        id = held.call.id
        self._held[id] = held
        self._send(held.call)
        ended: Any = "client_closed"
        exchange.response.end_on_drain(lambda: held.end("drained"))
        client = HeldClient(exchange, message)
        try:
            ending = await _ending(held, seconds)
            # To the console a client that cancels has left.
            ended = "client_closed" if ending.outcome == "cancelled" else ending.outcome
        finally:
            client.stop()
            exchange.response.on_drain = None
            del self._held[id]
            self._send(HoldEnded(id, ended))
            exchange.lap("hold", waiting=True)
        if ending.outcome != "released":
            raise _refusal(exchange, *_WORDS[ending.outcome])
        exchange.reason = f"Released by {ending.by}. {verdict.reason}"

    def release(self, order: Release) -> None:
        """A person has decided. A decision about something else than what waits decides nothing."""
        held = self._held.get(order.id)
        if held is None or held.call.digest != order.digest:
            logger.warning("a release for %s fits no call that waits", order.id)
            return
        held.end("released" if order.allowed else "refused", order.by)

    def cancel(self, session_id: str, request_id: Any) -> None:
        """A client does not want its request any more."""
        wanted = (session_id, type(request_id), request_id)
        for held in self._held.values():
            if held.request == wanted:
                held.end("cancelled")


_WORDS: Final[dict[str, tuple[str, str]]] = {
    "refused": ("This call was not approved.", "not_approved"),
    "expired": ("Nobody approved this call in time.", "approval_expired"),
    "cancelled": ("This call was cancelled while it waited for approval.", "call_cancelled"),
    "drained": ("The gateway ended while this call waited for approval. Try again.", "approval_interrupted"),
}


async def _ending(held: _Held, seconds: float) -> _Ending:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(held.ending)
    except TimeoutError:
        # A decision that came in the last moment counts.
        return held.ending.result() if held.ending.done() else _Ending("expired")


def _held_call(
    exchange: Exchange, verdict: Verdict, message: Message, declaration: Declaration | None, seconds: float
) -> HeldCall:
    params = message.params or {}
    try:
        arguments = canonical_json(params.get("arguments", {}))
    except NotCanonical as error:
        raise _refusal(exchange, "These arguments cannot be shown for approval.", "not_approved") from error
    if len(arguments) > MAX_ARGUMENTS_BYTES:
        raise _refusal(exchange, "These arguments are too large to be shown for approval.", "not_approved")
    config, principal = exchange.proxy.config, exchange.principal
    h_raw = declaration.h_raw if declaration is not None else ""
    decision, now = verdict.decision, time.time()
    expires_at = now + seconds
    policy = [decision.policy, decision.policy_version]
    bound = [config.id, principal.id, params["name"], h_raw, sha256(arguments), *policy, int(expires_at * 1000)]
    return HeldCall(
        # The elements of a batch wait one after the other, each for itself.
        id=exchange.id if exchange.rpc_id is not None else f"{exchange.id}.{type(message.id).__name__}.{message.id}",
        proxy_id=config.id,
        snapshot_version=exchange.proxy.snapshot_version,
        principal_id=principal.id,
        principal_name=principal.name,
        tool=params["name"],
        h_raw=h_raw,
        arguments=arguments,
        digest=sha256(canonical_json(bound)),
        policy=decision.policy,
        policy_version=decision.policy_version,
        reason=verdict.reason,
        held_at=now,
        expires_at=expires_at,
    )


def _refusal(exchange: Exchange, message: str, code: str) -> RPCRefusal:
    return RPCRefusal(200, BLOCKED, code, message, data={"ref": exchange.id}, outcome="blocked", detail=message)
