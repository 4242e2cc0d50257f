"""The client's events on their way to the provider: each is parsed once, judged, masked, and only then sent."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from proxies import off_loop, pipeline
from proxies.llm.realtime.audio import APPENDS_AUDIO, audio_characters
from proxies.llm.realtime.client_events import (
    CREATES_RESPONSE,
    PROTOCOL_KEYS,
    check_names,
    named_model,
)
from proxies.llm.realtime.messages import error_event
from proxies.llm.realtime.state import Link, RealtimeState, audio_mode, note_refusal
from proxies.llm.realtime.transcription import UPDATE, stops_transcribing
from proxies.llm.realtime.turns import MAX_EVENTS, Turn
from proxies.refusal import Refusal
from proxies.steps import limit
from proxies.strict_json import JSONRefused, parse, refuse_case_variants
from proxies.transport.websocket_server import POLICY

LARGE_MESSAGE_BYTES: Final = 32 * 1024
"""A message with more than this is parsed in a thread; most of one is audio, a single string."""
MAX_REFUSED: Final = 50
"""Events in a row that are refused; a client that goes on after them is not listening."""


class ClientSide:
    """One direction of a connection."""

    def __init__(self, state: RealtimeState, link: Link) -> None:
        self._state = state
        self._link = link
        self._refused = 0

    async def take(self, data: bytes) -> None:
        """Send one event on, or tell the client why it is not sent."""
        turn = self._state.turn
        turn.is_busy = True
        name = ""
        try:
            event = await off_loop.sized(len(data), partial(_read, data), large=LARGE_MESSAGE_BYTES)
            name = self._state.aliases.give(event)
            message = await self._judged(turn, event, len(data))
        except Refusal as refusal:
            turn.is_busy = False
            refused = refusal
        else:
            turn.is_busy = False
            self._refused = 0
            self._note(turn, event, name)
            await self._link.to_upstream(message)
            return
        await self._refuse(turn, name, refused)

    async def _judged(self, turn: Turn, event: dict[str, Any], size: int) -> bytes:
        exchange = turn.exchange
        exchange.skip_wait()
        exchange.request_bytes += size
        if model := named_model(event):
            exchange.operation = model
        check_names(event)
        if audio := audio_characters(event):
            _check_audio(self._state, turn, event)
        elif event["type"] == UPDATE:
            _check_update(self._state, turn, event)
        if event["type"] == CREATES_RESPONSE:
            self._state.check_asked()
            if exchange.protection.policies.has_rate_limits:
                limit.check(exchange)
            await pipeline.ask_decision_service(exchange, {"model": exchange.operation, "stream": True})
        return await off_loop.sized(size - audio, partial(turn.judge, event))

    def _note(self, turn: Turn, event: dict[str, Any], name: str) -> None:
        """What follows from an event that goes on."""
        if event["type"] == CREATES_RESPONSE:
            turn.asks = True
            turn.created_by, turn.alias = name, str(event["event_id"])
            self._state.ask(turn)
        elif turn.events >= MAX_EVENTS:
            turn.exchange.record()
            self._state.leave_turn()
        if event["type"] == UPDATE:
            self._state.model = named_model(event) or self._state.model
            self._state.transcription.ask(str(event["event_id"]), event)
        elif event["type"] == APPENDS_AUDIO:
            self._state.has_heard = True

    async def _refuse(self, turn: Turn, name: str, refusal: Refusal) -> None:
        """The event goes nowhere. The record goes first: a client that sees the refusal must find it in the console."""
        exchange = turn.exchange
        note_refusal(exchange, refusal)
        exchange.record()
        self._state.leave_turn()
        self._refused += 1
        await self._link.to_client(error_event(refusal, exchange.id, name))
        if self._refused > MAX_REFUSED:
            self._link.close(POLICY, "too many refused events")
        elif refusal.outcome == "blocked" and exchange.protection.policies.closes_realtime:
            self._link.close(POLICY, "blocked by policy")


def _read(data: bytes) -> dict[str, Any]:
    """The event in a message: one JSON object that says its type."""
    try:
        event = parse(data)
        if type(event) is dict:
            refuse_case_variants(event, PROTOCOL_KEYS)
    except JSONRefused as error:
        raise Refusal(400, "invalid_json", str(error), remediation="Send one JSON object in each message.") from None
    if type(event) is not dict or type(event.get("type")) is not str:
        raise Refusal(
            400,
            "invalid_json",
            "The message is no event.",
            remediation="Send a JSON object with a 'type' in each message.",
        )
    return event


def _check_audio(state: RealtimeState, turn: Turn, event: dict[str, Any]) -> None:
    """Raises `Refusal` where the policies let no audio pass. Providers transcribe what they hear, not what stands in items."""
    mode = audio_mode(turn.exchange)
    if mode == "pass":
        return
    if mode == "block":
        raise _no_audio("Audio does not pass: no rule can read it.", "Send text.")
    if event["type"] != APPENDS_AUDIO:
        raise _no_audio(
            "Audio in items of the conversation does not pass: it is not transcribed, and no rule can read it.",
            "Send it with input_audio_buffer.append.",
        )
    if not state.transcription.is_on:
        raise _no_audio(
            "Audio passes only in sessions that transcribe it, because no rule can read it.",
            "Set a transcription for the input audio of the session first (session.update).",
        )


def _check_update(state: RealtimeState, turn: Turn, event: dict[str, Any]) -> None:
    """Raises `Refusal` for an update after which audio that the provider has already would not be transcribed."""
    if state.has_heard and stops_transcribing(event) and audio_mode(turn.exchange) == "transcribed":
        raise _no_audio(
            "The transcription stays on: audio has been sent, and no rule can read it.",
            "Leave the transcription of the input audio as it is, or open another session.",
        )


def _no_audio(message: str, remediation: str) -> Refusal:
    return Refusal(403, "audio_not_allowed", message, remediation=remediation, outcome="blocked")
