"""What no shape of an API names in an answer or in an event of a stream: ids, words of the protocol, members unknown to it.

The shapes read what a model says. A client gets the whole answer, so every other string of it that could hold a value is
read here, and numbers as long as those of payment cards with them. An upstream says the same few words in every event:
those are looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from proxies.json_texts import is_name, key_pointer, number_text, pointer
from proxies.llm.unread_texts import is_plain
from rules.masking.json_strings import LEAST_NUMBER, MOST_NUMBER
from rules.model import Finding, Target, Text

MAX_HARMLESS: Final = 256
"""Words that are remembered for one answer."""
MAX_HARMLESS_CHARACTERS: Final = 200
"""A longer text is not said again and again."""
_SEALED: Final = frozenset(
    """signature encrypted_content thoughtSignature thought_signature redactedContent data bytes file_data image
    obfuscation p""".split()
)
"""What only the provider can open, files, and padding: where it is written like that."""
_NUMBERS: Final = frozenset("logprobs logprobsResult embedding embeddings context".split())
"""Vectors, and tokens apart from their text."""
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_=-]*")
_NAMES: Final = frozenset(
    """id type object model status role event_id response_id responseId item_id previous_item_id call_id tool_call_id
    toolUseId tool_use_id conversation_id system_fingerprint modelVersion finish_reason stop_reason""".split()
)
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{0,200}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,18}(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_BINARY: Final = re.compile(r"(?:data:(?:image|audio|video)/[a-z0-9.+-]{1,40};base64,)?[A-Za-z0-9+/_-]{128,}={0,2}")


class UnreadAnswer:
    """The rest of one answer, or of the events of one stream."""

    __slots__ = ("_found", "_harmless", "_keys", "_read", "_texts")

    def __init__(self) -> None:
        self._harmless: set[str] = set()
        self._read: set[int] = set()
        self._keys: frozenset[str] | None = None
        self._texts: Sequence[Text] = ()
        self._found: list[Text] = []

    def texts(self, body: dict[str, Any], read: Sequence[Text], said: Sequence[str] = ()) -> list[Text]:
        """What is in `body` and was neither `read` there by its shape nor is a piece of what is `said`."""
        # A text that was read is the very string of the body, unless it stood in JSON or in base64.
        self._texts, self._found, self._keys = read, [], None
        self._read = {id(text.text) for text in read}
        self._read.update([id(piece) for piece in said])
        self._object(body, "")
        return self._found

    def note(self, texts: list[Text], found: list[Finding]) -> None:
        """Remember those of the texts in which nothing was found."""
        places = {finding.path for finding in found}
        for text in texts:
            if text.path not in places:
                self._remember(text.text)

    def _object(self, value: dict[str, Any], path: str) -> None:
        for key, member in value.items():
            if not is_name(key) and key not in self._harmless:
                self._key(key, path)
            if type(member) is str:
                if member and member not in self._harmless and id(member) not in self._read:
                    self._string(key, member, pointer(path, key))
            elif type(member) is int or type(member) is float:
                if LEAST_NUMBER <= member <= MOST_NUMBER:
                    number_text(member, Target.TOOL_ARGS, pointer(path, key), self._found)
            elif type(member) is dict:
                if key not in _NUMBERS:
                    self._object(member, pointer(path, key))
            elif type(member) is list and member and key not in _NUMBERS:
                self._list(member, pointer(path, key))

    def _list(self, value: list[Any], path: str) -> None:
        for index, member in enumerate(value):
            if type(member) is str:
                if member and member not in self._harmless and id(member) not in self._read:
                    self._string("", member, f"{path}/{index}")
            elif type(member) is int or type(member) is float:
                if LEAST_NUMBER <= member <= MOST_NUMBER:
                    number_text(member, Target.TOOL_ARGS, f"{path}/{index}", self._found)
            elif type(member) is dict:
                self._object(member, f"{path}/{index}")
            elif type(member) is list:
                self._list(member, f"{path}/{index}")

    def _key(self, key: str, path: str) -> None:
        # The same key elsewhere is the same string, so the string does not tell where it was read.
        if self._keys is None:
            self._keys = frozenset([text.path for text in self._texts if text.path.endswith("#")])
        place = key_pointer(path, key)
        if place not in self._keys:
            self._found.append(Text(Target.COMPLETION, place, key))

    def _string(self, key: str, text: str, path: str) -> None:
        if key in _NAMES and _NAME.fullmatch(text) is not None:
            return
        if key in _SEALED and _ENCODED.fullmatch(text) is not None:
            return
        if is_plain(text) or _TIME.fullmatch(text) is not None or _BINARY.fullmatch(text) is not None:
            self._remember(text)
            return
        if not self._was_decoded(path):
            self._found.append(Text(Target.COMPLETION, path, text))

    def _was_decoded(self, path: str) -> bool:
        """Whether what stands in a string, in JSON or in base64, was read in its place."""
        inside = (f"{path}/", f"{path};")
        return any(text.path.startswith(inside) for text in self._texts)

    def _remember(self, text: str) -> None:
        if len(self._harmless) < MAX_HARMLESS and len(text) <= MAX_HARMLESS_CHARACTERS:
            self._harmless.add(text)
