"""Bodies of Bedrock's InvokeModel, which are those of the model's maker: whose they are, and their texts (AG-MP-3).

Anthropic's are those of its own API. Meta's Llama takes a prompt, Amazon's Titan an input text; their answers are as plain. A
maker is known by the whole body: members that it does not have make it somebody else's, and those do not pass.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxies.answer_texts import Piece
from proxies.contract import Usage
from proxies.json_texts import leaves, pointer
from proxies.llm.ollama_texts import image_texts
from proxies.llm.running_texts import Reading
from proxies.llm.surfaces import Route, Surface
from proxies.llm.usage import llama_usage, titan_usage
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.sse import SSEEvent
from rules.model import Target, Text

_LLAMA: Final = frozenset({"prompt", "images", "temperature", "top_p", "max_gen_len"})
_TITAN: Final = frozenset({"inputText", "textGenerationConfig", "dimensions", "normalize", "embeddingTypes"})
_FOREIGN: Final = ("prompt", "inputText")
"""What Anthropic's messages have not: its older completions, for one, are answered in another form."""
_OF_BEDROCK: Final = "amazon-bedrock-"
"""How the members begin that Bedrock adds to a maker's events."""
_KEY: Final = "text"


def invoked_surface(body: dict[str, Any]) -> Surface | None:
    """Whose body this is; None for one that nobody here can read."""
    if type(body.get("anthropic_version")) is str:
        return None if any(member in body for member in _FOREIGN) else Surface.BEDROCK_INVOKE
    if type(body.get("prompt")) is str and body.keys() <= _LLAMA:
        return Surface.BEDROCK_LLAMA
    if type(body.get("inputText")) is str and body.keys() <= _TITAN:
        return Surface.BEDROCK_TITAN
    return None


def invoked_route(route: Route, body: dict[str, Any]) -> Route:
    """The same call as one of the API that its body is of; raises `Refusal`."""
    surface = invoked_surface(body)
    if surface is None:
        raise Refusal(
            422,
            "model_body_not_supported",
            "Of InvokeModel only the bodies of Anthropic's messages, Meta's Llama and Amazon's Titan can be inspected.",
            remediation="Use Converse, which has one form for all models, or send only members of the model's own body.",
        )
    return msgspec.structs.replace(route, surface=surface)


def llama_request(body: dict[str, Any], texts: list[Text]) -> None:
    """A prompt, and pictures beside it as bare base64."""
    for key, value in body.items():
        if key == "images":
            image_texts(value, Target.PROMPT, "/images", texts)
        else:
            leaves(value, Target.PROMPT, pointer("", key), texts)


def titan_request(body: dict[str, Any], texts: list[Text]) -> None:
    """An input text, to go on from or to embed, and the sequences at which to stop."""
    leaves(body, Target.PROMPT, "", texts)


def llama_answer(body: dict[str, Any], texts: list[Text]) -> None:
    """A whole answer of Llama, or what one event says besides its piece of text."""
    _answer(body, "", ("stop_reason",), texts)


def titan_answer(body: dict[str, Any], texts: list[Text]) -> None:
    """A whole answer of Titan, or what one event says besides its piece of text."""
    results = body.get("results")
    if type(results) is list:
        for index, result in enumerate(results):
            if type(result) is dict:
                _answer(result, f"/results/{index}", ("completionReason",), texts)
            else:
                leaves(result, Target.COMPLETION, f"/results/{index}", texts)
    _answer(body, "", ("completionReason", *(("results",) if type(results) is list else ())), texts)


def _answer(body: dict[str, Any], path: str, measures: tuple[str, ...], texts: list[Text]) -> None:
    for key, value in body.items():
        if key not in measures:
            leaves(value, Target.COMPLETION, pointer(path, key), texts)


class LlamaStream:
    """`generation` piece by piece; its end is the event with a reason, which also brings the counts."""

    repeats: Final = False
    member = "generation"
    reason = "stop_reason"
    counts: tuple[str, ...] = ("prompt_token_count", "generation_token_count")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._is_open = False

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event; raises `UpstreamProtocolError` for one of another maker's model."""
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        piece = body.get(self.member)
        if type(piece) is str:
            if piece:
                self._is_open = True
                path = f"/{self.member}"
                reading.pieces.append(Piece(_KEY, Target.COMPLETION, path, piece, body, self.member, body))
        elif event is None and not any(key.startswith(_OF_BEDROCK) for key in body):
            raise UpstreamProtocolError("The upstream sent an event in the form of another model than the request's.")
        self._rest({key: value for key, value in body.items() if key != self.member or type(piece) is not str}, reading)
        if type(body.get(self.reason)) is str:
            reading.is_end = True
            reading.ended = [_KEY] if self._is_open else []
            self._is_open = False
        self.usage = self._used(body) or self.usage
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of the text."""
        body = {self.member: text, **dict.fromkeys(self.counts), self.reason: None}
        return SSEEvent(event=None, data=dump(body).decode())

    def _rest(self, body: dict[str, Any], reading: Reading) -> None:
        llama_answer(body, reading.texts)

    def _used(self, body: dict[str, Any]) -> Usage | None:
        return llama_usage(body)


class TitanStream(LlamaStream):
    """The same with `outputText`."""

    member = "outputText"
    reason = "completionReason"
    counts = ("index", "totalOutputTextTokenCount", "inputTextTokenCount")

    def _rest(self, body: dict[str, Any], reading: Reading) -> None:
        titan_answer(body, reading.texts)

    def _used(self, body: dict[str, Any]) -> Usage | None:
        return titan_usage(body)
