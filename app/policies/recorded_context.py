"""The context that a recorded request came with (SLG-CTX-1 to 3), told apart from its other texts. Pure.

A context firewall takes the context out before anything else reads the request; without one it is a text of the request
like others. Whether it was checked when the call came does not matter: its texts stand in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText
from rules.context_firewall import MAX_CHUNKS, MEMBER, Chunk, ContextInput
from rules.model import Target

SOURCE: Final = "context source"
"""Where the context came from, as the name of what is missing: records of older versions do not have it."""
_CHUNK: Final = re.compile(rf"/{MEMBER}/chunks/(\d{{1,3}})/content")
_PLACES: Final = re.compile(rf"/{MEMBER}/(?:source|chunks/\d{{1,3}}/(?:content|id))")


class RecordedContext(msgspec.Struct, frozen=True):
    """A context as far as it was recorded."""

    given: ContextInput
    """Chunks that found no room are empty."""
    texts: Sequence[CapturedText]
    has_source: bool


def context_apart(call: CapturedCall, *, is_checked: bool) -> tuple[tuple[CapturedText, ...], RecordedContext | None]:
    """The other texts of a call, and its context where one is to be checked. What nothing checks is a part of the prompt,
    as on the wire."""
    places = {text.path: text for text in call.texts if text.direction == "request" and _PLACES.fullmatch(text.path)}
    if not is_checked:
        read = (replace(text, target=Target.PROMPT) if text.path in places else text for text in call.texts)
        return tuple(read), None
    rest = tuple(text for text in call.texts if text.direction != "request" or text.path not in places)
    was_refused = any(str(finding["path"]).startswith(f"/{MEMBER}/") for finding in call.findings)
    if not places and not was_refused:
        return rest, None
    contents = {int(found[1]): text for path, text in places.items() if (found := _CHUNK.fullmatch(path))}
    count = min(max(contents, default=-1) + 1, MAX_CHUNKS)
    chunks = tuple(Chunk("", contents[index].text if index in contents else "") for index in range(count))
    source = places.get(f"/{MEMBER}/source")
    given = ContextInput(source.text if source is not None else "", chunks)
    texts = [replace(text, target=Target.DOCUMENT) for text in contents.values()]
    return rest, RecordedContext(given, texts, source is not None)
