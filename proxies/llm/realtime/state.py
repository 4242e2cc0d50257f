"""What both directions of one Realtime connection share: who calls, under which snapshot, and what has been said so far."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from proxies.conversation import RecentFindings
from proxies.exchange import Exchange
from proxies.llm.realtime.aliases import Aliases
from proxies.llm.realtime.transcription import Transcription
from proxies.llm.realtime.turns import Said, Turn
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps import authenticate
from proxies.steps.mask import start_session

MAX_ASKED: Final = 64
"""Responses that a client may ask for before the first of them begins."""


class Link(Protocol):
    """The two sockets, as those see them who judge what passes between them."""

    async def to_client(self, message: bytes) -> None:
        """Send one message; raises ConnectionResetError when the client is gone."""

    async def to_upstream(self, message: bytes) -> None:
        """Send one message; raises UpstreamError when the provider is gone."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close both."""


class RealtimeState:
    """The state of one connection."""

    def __init__(self, exchange: Exchange, model: str) -> None:
        self.opening = exchange
        self.proxy: ProxyRuntime = exchange.proxy
        """The newest snapshot: what is said from now on is judged by it."""
        self.model = model
        self.said = Said()
        self.aliases = Aliases()
        self.recent = RecentFindings()
        self.transcription = Transcription()
        self.has_heard = False
        """Whether audio has gone to the provider, where it waits for its transcription."""
        self._masking = start_session(exchange, exchange.id)
        self._turn: Turn | None = None
        self._asked: deque[Turn] = deque()

    def begin(self) -> Exchange:
        """A call of its own; raises `Refusal` where the caller may not call any more."""
        exchange = self.opening.fork(self.model)
        if self.proxy is not exchange.proxy:
            exchange.proxy = self.proxy
            exchange.protection = self.proxy.protection
            authenticate.check(exchange)
        exchange.status = 200
        exchange.masking = self._masking
        exchange.conversation = self.recent
        return exchange

    @property
    def turn(self) -> Turn:
        """The turn that the next event of the client belongs to."""
        if self._turn is None:
            self._turn = Turn(self.begin(), self.said)
        return self._turn

    def leave_turn(self) -> None:
        """The next event begins another turn."""
        self._turn = None

    def ask(self, turn: Turn) -> None:
        """A turn ends because the client asks for a response."""
        self._asked.append(turn)
        self._turn = None

    def check_asked(self) -> None:
        """Raises `Refusal` where too many responses that were asked for have not begun."""
        if len(self._asked) >= MAX_ASKED:
            raise Refusal(
                429,
                "too_many_responses",
                f"{MAX_ASKED} responses were asked for and have not begun.",
                remediation="Wait for one of them.",
            )

    def take_turn(self) -> Turn:
        """The turn that a response which begins now answers."""
        if self._asked:
            return self._asked.popleft()
        if self._turn is not None and not self._turn.is_busy:
            turn, self._turn = self._turn, None
            return turn
        return Turn(self.begin(), self.said)

    def not_answered(self, alias: str) -> Turn | None:
        """The turn that ended with this event, in place of whose response the provider sent an error."""
        for turn in self._asked:
            if turn.alias == alias:
                self._asked.remove(turn)
                return turn
        return None

    def open_turns(self) -> list[Turn]:
        """The turns that have no response yet."""
        return [*self._asked, *((self._turn,) if self._turn is not None else ())]


def note_refusal(exchange: Exchange, refusal: Refusal) -> None:
    """Write into a call why it did not go on."""
    exchange.status = refusal.status
    exchange.outcome = refusal.outcome
    exchange.error_code = refusal.code
    exchange.reason = refusal.detail or refusal.message


def audio_mode(exchange: Exchange) -> str:
    """When audio may pass: `pass`, `transcribed` or `block`. A proxy that only logs keeps nothing out."""
    if exchange.proxy.config.enforcement == "log_only":
        return "pass"
    return exchange.protection.policies.realtime_audio
