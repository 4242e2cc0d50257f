"""Where audio stands in the events of Realtime. No rule can read it; what it says is read in its transcripts (LLM-RT-2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeGuard

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_AUDIO_PARTS: Final = frozenset({"input_audio", "output_audio", "audio"})
APPENDS_AUDIO: Final = "input_audio_buffer.append"
_AUDIO_EVENTS: Final = {
    APPENDS_AUDIO: "audio",
    "response.output_audio.delta": "delta",
    "response.audio.delta": "delta",
}
"""By type of event the member that is audio."""


def audio_places(event: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of an event that hold audio, each with the name of the member."""
    kind = event.get("type")
    if (member := _AUDIO_EVENTS.get(kind if type(kind) is str else "")) is not None and _is_audio(event.get(member)):
        yield event, member
    for item in _items(event):
        content = item.get("content")
        for part in content if type(content) is list else ():
            if _is_spoken(part):
                yield part, "audio"
    part = event.get("part")
    if _is_spoken(part):
        yield part, "audio"


def audio_characters(event: dict[str, Any]) -> int:
    """How much of an event is audio, which costs nobody any reading."""
    return sum([len(holder[member]) for holder, member in audio_places(event)])


def take_audio(event: dict[str, Any]) -> list[tuple[dict[str, Any], str, str]]:
    """Take the audio out of an event; what `put_audio` needs to put it back."""
    taken = [(holder, member, holder[member]) for holder, member in audio_places(event)]
    for holder, member, _ in taken:
        holder[member] = ""
    return taken


def put_audio(taken: list[tuple[dict[str, Any], str, str]]) -> None:
    """Put back what was taken."""
    for holder, member, audio in taken:
        holder[member] = audio


def _items(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The items of the conversation that an event holds."""
    if type(item := event.get("item")) is dict:
        yield item
    if type(response := event.get("response")) is dict:
        for name in ("input", "output"):
            items = response.get(name)
            yield from (item for item in (items if type(items) is list else ()) if type(item) is dict)


def _is_spoken(part: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this part of a message is audio that stands in it."""
    return type(part) is dict and str(part.get("type")) in _AUDIO_PARTS and _is_audio(part.get("audio"))


def _is_audio(value: Any) -> bool:
    """Whether this is base64. Anything else in the place of audio is a text."""
    return type(value) is str and bool(value) and value.isascii() and not value.encode().translate(None, _BASE64)
