"""What each event of a Realtime response says: the events of the Responses API with other names, and transcripts (§3.1.2)."""

from __future__ import annotations

from typing import Any, Final

from proxies.answer_texts import Mode, Piece
from proxies.llm.realtime.server_texts import event_texts
from proxies.llm.running_texts import Reading, named
from proxies.llm.streams import ResponsesStream
from proxies.llm.usage import openai_usage
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent
from rules.model import Target

TRANSCRIPTION: Final = "conversation.item.input_audio_transcription."
"""How the events begin that say what was heard."""
_CALLS: Final = {"response.function_call_arguments": True, "response.mcp_call_arguments": False}
"""The calls whose arguments come in pieces, and whether the caller carries them out itself."""
_WHOLE: Final = frozenset({"response.content_part.done", "response.output_item.done", "response.done"})
"""Events whose name ends like that of a text that has ended."""


class RealtimeStream(ResponsesStream):
    """The events of one response, or of the transcript of one item."""

    def __init__(self) -> None:
        super().__init__()
        self._inserted = 0

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its `type`. Audio is to be taken out before."""
        self._forget()
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        kind = str(body.get("type"))
        if kind.endswith(".delta") and type(text := body.get("delta")) is str:
            if text:
                self._piece(kind, body, text, reading)
            reading.texts += self._running.unsaid(event_texts(body, but="delta"))
        elif kind.startswith(TRANSCRIPTION) and kind.endswith((".completed", ".failed")):
            self.usage = openai_usage(body.get("usage"))
            reading.is_end = True
            self._done(kind, body, reading)
        elif kind.endswith(".done") and kind not in _WHOLE:
            self._done(kind, body, reading)
        else:
            if type(response := body.get("response")) is dict:
                self._response(kind, response, reading)
            self._other(body, reading)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of one text, in the shape of the last one, and with a name of its own."""
        self._inserted += 1
        body = dict(self._last[key])
        body |= {"event_id": f"event_gateway_{self._inserted}_{str(body.get('event_id'))[:100]}", "delta": text}
        return SSEEvent(event=None, data=dump(body).decode())

    def _key(self, kind: str, body: dict[str, Any]) -> str:
        if kind.startswith(TRANSCRIPTION):
            # The index of the part stands in only some of these events.
            return f"{TRANSCRIPTION}:{body.get('item_id')}"
        return super()._key(kind, body)

    def _piece(self, kind: str, body: dict[str, Any], text: str, reading: Reading) -> None:
        name = kind.removesuffix(".delta")
        is_call = name in _CALLS
        mode: Mode = "arguments" if is_call else "fixed" if "reasoning" in name else "text"
        target = Target.TOOL_ARGS if is_call else Target.COMPLETION
        path = f"/{name.removeprefix('response.')}"
        piece = Piece(self._key(kind, body), target, path, text, body, "delta", body, mode, _CALLS.get(name, True))
        self._last[piece.key] = named(body)
        self._running.add(piece)
        reading.pieces.append(piece)

    def _response(self, kind: str, response: dict[str, Any], reading: Reading) -> None:
        """`response.created` names the response; `response.done` says all of it again, with its usage."""
        if type(response.get("id")) is str:
            self.response_id = response["id"]
        if kind == "response.done":
            reading.is_end = True
            self.usage = openai_usage(response.get("usage"))
            for key in self._running.open_keys():
                reading.ended.append(key)
                self._running.end(key, "/response", reading)

    def _other(self, body: dict[str, Any], reading: Reading, target: Target = Target.COMPLETION) -> None:
        reading.texts += self._running.unsaid(event_texts(body))
