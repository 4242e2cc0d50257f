"""The provider's events on their way to the client: inspected, redacted, restored, and only then sent.

What is blocked ends the response it stands in: the provider has to stop, and says what was spent; then the call is recorded, the
client is told by an `error`, and the response ends for it as failed. The connection stays open.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from proxies import off_loop, pipeline
from proxies.contract import Outcome
from proxies.exchange import Exchange
from proxies.llm.realtime.answers import Answer, read_aside, remember
from proxies.llm.realtime.audio import audio_characters, audio_places
from proxies.llm.realtime.from_client import LARGE_MESSAGE_BYTES
from proxies.llm.realtime.messages import cancel_response, delete_item, error_event, failed_response
from proxies.llm.realtime.server_stream import TRANSCRIPTION
from proxies.llm.realtime.state import Link, RealtimeState, audio_mode, note_refusal
from proxies.llm.realtime.turns import judge_heard
from proxies.llm.usage import openai_usage
from proxies.refusal import Refusal
from proxies.steps import limit
from proxies.strict_json import JSONRefused, parse
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.websocket_server import INTERNAL_ERROR, POLICY

_HEARD: Final = frozenset({f"{TRANSCRIPTION}completed", f"{TRANSCRIPTION}failed"})
"""The last event of a transcript."""
MAX_ANSWERS: Final = 64
"""Responses of one connection at a time, and the same of transcripts."""
STOP_SECONDS: Final = 2.0
"""How long a provider may take to stop before the client is told without knowing the usage."""
MAX_NAME_CHARACTERS: Final = 200
MAX_ITEMS: Final = 2_000
"""Items of running responses that are known by name."""


class ProviderSide:
    """The other direction of a connection."""

    def __init__(self, state: RealtimeState, link: Link) -> None:
        self._state = state
        self._link = link
        self._responses: dict[str, Answer] = {}
        self._heard: dict[str, Answer] = {}
        """Transcripts by the item that was spoken."""
        self._items: dict[str, Answer] = {}
        """By item the running response that it belongs to."""

    @property
    def is_quiet(self) -> bool:
        """Whether no response is running."""
        return not self._responses

    async def take(self, data: bytes) -> None:
        """Send one event on, or what stands in for it; raises UpstreamError for what is no event."""
        event = await off_loop.sized(len(data), partial(_read, data), large=LARGE_MESSAGE_BYTES)
        size = len(data) - audio_characters(event)
        await self.tell_overdue()
        kind = str(event.get("type"))
        if kind.startswith("session."):
            self._state.transcription.heard(kind, event.get("session"))
        if kind.startswith(TRANSCRIPTION):
            await self._take_heard(kind, event, size)
            return
        item = item_of(event)
        response = response_of(event)
        answer = await self._answer(response) if response else self._items.get(item)
        if answer is None:
            if _is_piece(event):
                raise UpstreamProtocolError("The upstream sent a piece of a text that belongs to no response.")
            await self._take_aside(kind, event, size)
            return
        if item and len(self._items) < MAX_ITEMS:
            self._items[item] = answer
        await self._take_answer(answer, kind, event, size)

    def end(self, outcome: Outcome) -> list[bytes]:
        """No more will come: every call that has no end gets its record; what was held may still go out (RED-STR-1)."""
        held: list[bytes] = []
        for answer in [*self._responses.values(), *self._heard.values()]:
            exchange = answer.exchange
            if answer.refusal is None:
                exchange.truncated = True
                exchange.outcome = outcome
                exchange.error_code = "upstream_truncated" if outcome == "upstream_error" else ""
                try:
                    held += answer.close()
                except Refusal as refusal:
                    note_refusal(exchange, refusal)
            answer.note_usage()
            exchange.record()
            if answer.refusal is not None and not answer.is_told:
                held.append(error_event(answer.refusal, exchange.id, answer.created_by))
        self._responses.clear()
        self._heard.clear()
        return held

    # --- Responses ------------------------------------------------------------------------------------------------

    async def _answer(self, name: str) -> Answer:
        """The running response of this name; its first event begins it."""
        if (answer := self._responses.get(name)) is not None:
            return answer
        if len(self._responses) >= MAX_ANSWERS:
            raise UpstreamProtocolError("The upstream runs more responses at once than can be inspected.")
        turn = self._state.take_turn()
        exchange = turn.exchange
        if not turn.asks:
            exchange.skip_wait()
        if not exchange.protection.is_prepared:
            await off_loop.away(exchange.protection.prepare)
        refused: Refusal | None = None
        if not turn.asks:
            # The provider began it by itself, because somebody spoke: what is asked of every call is asked now.
            try:
                if exchange.protection.policies.has_rate_limits:
                    limit.check(exchange)
                await pipeline.ask_decision_service(exchange, {"model": exchange.operation, "stream": True})
                turn.judge_silence()
            except Refusal as refusal:
                refused = refusal
        # What was found in other messages has been weighed; in pieces of an answer it would be weighed with each of them.
        exchange.conversation = None
        answer = self._responses[name] = Answer(exchange, name, created_by=turn.created_by, is_asked=turn.asks)
        if refused is not None:
            await self._refuse(answer, refused, stops=True)
        return answer

    async def _take_answer(self, answer: Answer, kind: str, event: dict[str, Any], size: int) -> None:
        exchange = answer.exchange
        exchange.lap("upstream", waiting=True)
        refused: Refusal | None = None
        messages: list[bytes] = []
        if answer.refusal is None:
            self._mute(answer, event)
            try:
                messages = await off_loop.sized(size, partial(answer.read, event), large=answer.large_characters)
            except Refusal as refusal:
                refused = refusal
        exchange.lap("inspect_response")
        is_end = kind == "response.done"
        if refused is not None:
            await self._refuse(answer, refused, stops=not is_end)
        if is_end:
            messages = self._end(answer, event, messages)
        exchange.response_bytes += sum(map(len, messages))
        if is_end:
            exchange.record()
            await self._tell_refused(answer)
        for message in messages:
            await self._link.to_client(message)

    def _end(self, answer: Answer, event: dict[str, Any], messages: list[bytes]) -> list[bytes]:
        """A response is over; what goes to the client at its end."""
        del self._responses[answer.name]
        for item in [item for item, owner in self._items.items() if owner is answer]:
            del self._items[item]
        exchange = answer.exchange
        response = event.get("response")
        usage = response.get("usage") if type(response) is dict else None
        exchange.usage = openai_usage(usage)
        if answer.refusal is not None:
            return [failed_response(answer.refusal, answer.name, usage)]
        remember(self._state.recent, exchange)
        status = response.get("status") if type(response) is dict else None
        exchange.truncated = status != "completed"
        if status == "failed":
            exchange.outcome, exchange.error_code = "upstream_error", "upstream_failed"
        return messages

    async def _refuse(self, answer: Answer, refusal: Refusal, *, stops: bool = False) -> None:
        """Nothing more of this goes out, and the provider has to stop a response that is running."""
        answer.refuse(refusal)
        note_refusal(answer.exchange, refusal)
        if stops:
            await self._link.to_upstream(cancel_response(answer.name))
        if refusal.outcome == "failed" or answer.exchange.protection.policies.closes_realtime:
            await self._tell_refused(answer)

    async def tell_overdue(self) -> None:
        """Tell the client of what was refused some time ago, where the provider has not stopped yet."""
        for answer in [*self._responses.values(), *self._heard.values()]:
            if answer.refusal is not None and time.monotonic() - answer.refused_at > STOP_SECONDS:
                await self._tell_refused(answer)

    async def _tell_refused(self, answer: Answer) -> None:
        """The record goes first: a client that sees the refusal must find it in the console."""
        if answer.refusal is None or answer.is_told:
            return
        answer.is_told = True
        answer.exchange.record()
        await self._tell(answer.exchange, answer.refusal, answer.created_by)

    async def _tell(self, exchange: Exchange, refusal: Refusal, caused_by: str) -> None:
        """Tell the client, and end the connection where that is what has to follow."""
        await self._link.to_client(error_event(refusal, exchange.id, caused_by))
        if refusal.outcome == "failed":
            self._link.close(INTERNAL_ERROR, "the answer could not be inspected")
        elif refusal.outcome == "blocked" and exchange.protection.policies.closes_realtime:
            self._link.close(POLICY, "blocked by policy")

    def _mute(self, answer: Answer, event: dict[str, Any]) -> None:
        """Take out audio that may not pass; the event stays (RED-STR-4)."""
        if audio_mode(answer.exchange) == "block":
            for holder, member in list(audio_places(event)):
                holder[member] = ""

    # --- What was heard -------------------------------------------------------------------------------------------

    async def _take_heard(self, kind: str, event: dict[str, Any], size: int) -> None:
        """The transcript of what the caller said. Its audio is with the provider: a block can only undo that (LLM-RT-2)."""
        item = item_of(event)
        answer = self._heard.get(item)
        if answer is None:
            if len(self._heard) >= MAX_ANSWERS:
                raise UpstreamProtocolError("The upstream transcribes more items at once than can be inspected.")
            exchange = self._state.begin()
            exchange.conversation = None
            answer = self._heard[item] = Answer(exchange, item)
        exchange = answer.exchange
        exchange.lap("upstream", waiting=True)
        refused: Refusal | None = None
        messages: list[bytes] = []
        if answer.refusal is None:
            try:
                read = partial(_read_heard, answer, event)
                messages = await off_loop.sized(size, read, large=answer.large_characters)
            except Refusal as refusal:
                refused = refusal
        if refused is not None:
            await self._refuse(answer, refused)
            await self._link.to_upstream(delete_item(item))
            for response in [one for one in self._responses.values() if not one.is_asked and one.refusal is None]:
                await self._refuse(response, refused, stops=True)
        exchange.response_bytes += sum(map(len, messages))
        if kind in _HEARD:
            del self._heard[item]
            exchange.usage = openai_usage(event.get("usage"))
            remember(self._state.recent, exchange)
            exchange.record()
            await self._tell_refused(answer)
        for message in messages:
            await self._link.to_client(message)

    # --- Everything else ------------------------------------------------------------------------------------------

    async def _take_aside(self, kind: str, event: dict[str, Any], size: int) -> None:
        exchange = self._state.begin()
        alias = self._state.aliases.restore(event) if kind == "error" else ""
        self._state.transcription.refused(alias)
        if alias and (turn := self._state.not_answered(alias)) is not None:
            turn.exchange.outcome, turn.exchange.error_code = "upstream_error", "upstream_error"
            turn.exchange.record()
        if audio_mode(exchange) == "block":
            for holder, member in list(audio_places(event)):
                holder[member] = ""
        refused: Refusal | None = None
        message = b""
        try:
            message = await off_loop.sized(size, partial(read_aside, exchange, event, self._state.said))
        except Refusal as refusal:
            refused = refusal
        if refused is None:
            if exchange.added_findings:
                exchange.record()
            await self._link.to_client(message)
            return
        note_refusal(exchange, refused)
        exchange.record()
        await self._tell(exchange, refused, "")


def _read(data: bytes) -> dict[str, Any]:
    try:
        event = parse(data)
    except JSONRefused as error:
        raise UpstreamProtocolError(f"The upstream sent an event that is not valid: {error}") from None
    if type(event) is not dict:
        raise UpstreamProtocolError("The upstream sent an event that is not a JSON object.")
    return event


def _read_heard(answer: Answer, event: dict[str, Any]) -> list[bytes]:
    if type(transcript := event.get("transcript")) is str and transcript:
        judge_heard(answer.exchange, transcript)
    return answer.read(event)


def response_of(event: dict[str, Any]) -> str:
    """The response that an event belongs to, or an empty string; raises UpstreamError for what is no name."""
    response = event.get("response")
    return _name(event.get("response_id"), response.get("id") if type(response) is dict else None)


def item_of(event: dict[str, Any]) -> str:
    """The item that an event is about, or an empty string; raises UpstreamError for what is no name."""
    item = event.get("item")
    return _name(event.get("item_id"), item.get("id") if type(item) is dict else None)


def _name(given: Any, otherwise: Any) -> str:
    name = given if given is not None else otherwise
    if name is None:
        return ""
    if type(name) is not str or len(name) > MAX_NAME_CHARACTERS:
        raise UpstreamProtocolError("The upstream names a response or an item in a way that cannot be followed.")
    return name


def _is_piece(event: dict[str, Any]) -> bool:
    """Whether this is a piece of a text: alone it says too little to be inspected."""
    is_delta = str(event.get("type")).endswith(".delta") and type(event.get("delta")) is str
    return is_delta and next(audio_places(event), None) is None
