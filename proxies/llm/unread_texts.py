"""What no shape of an API names: keys, roles, types, names of calls, members that nobody has heard of.

The shapes read what a model is told. A provider gets the whole body, so every other string of it that could hold a value is
read here, and numbers as long as those of cards with them. Words of the protocol and names that say nothing are left out.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.json_texts import is_name, key_pointer, number_text, pointer
from proxies.llm.payloads import DATA_URL
from rules.masking.json_strings import LEAST_NUMBER, MOST_NUMBER
from rules.model import Target, Text

_PLAIN: Final = re.compile(
    r"[A-Za-z]{1,16}[0-9]{0,3}(?:[-/:_.][A-Za-z0-9]{1,16}){0,12}"
    r"|(?:call|toolu|tooluse|srvtoolu|fc|fco|msg|rs|resp|ct|ctc|ws|fs|ci|mcp|mcpl|mcpr|conv|file|item|chatcmpl-tool)"
    r"[_-][A-Za-z0-9_-]{1,80}"
)
"""Words of a protocol, names of models and tools, and ids as providers make them; no address, number or long credential."""
_WORDS: Final = frozenset(
    """role content type text name id tool_calls function arguments index model messages system user assistant developer tool
    input output parameters properties description required string object number integer boolean array parts""".split()
)
"""Of these the most frequent ones, which are found sooner in a table."""
_SEALED: Final = frozenset("signature encrypted_content thoughtSignature thought_signature redactedContent".split())
"""What only the provider can open."""
_FILES: Final = frozenset("data bytes file_data images image".split())
"""Files, which `payloads` reads where they are text: where they are written like files."""
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_=\r\n-]{64,}|[A-Za-z0-9+/_-]{2,}={1,2}")
"""Base64, longer than a value or with its own end: no rule finds anything in it, and an image has megabytes of it."""
_URLS: Final = frozenset({"url", "image_url", "file_url", ""})
"""Members, and elements of lists, whose `data:` URLs are files as well."""
_BELOW_ARGUMENTS: Final = "/arguments/"
_CONTAINERS: Final = frozenset({dict, list})


def is_plain(text: str) -> bool:
    """Whether a text is a word of a protocol, a name or an id, and holds no value."""
    return _PLAIN.fullmatch(text) is not None


def unread_texts(body: Any, texts: list[Text], path: str = "") -> None:
    """Append what is in `body`, which stands at `path`, and not yet in `texts`."""
    rest = _Rest(texts)
    rest.read(body, path)
    texts += rest.found


def names(value: Any, shortest: int, texts: list[Text], path: str = "") -> None:
    """Append every word, name and id that rules need not read, keys included: for those who look for texts that were planted,
    of which the shortest has so many characters."""
    if type(value) is dict:
        for key, member in value.items():
            below = pointer(path, key)
            if len(key) >= shortest:
                texts.append(Text(Target.PROMPT, key_pointer(path, key), key))
            names(member, shortest, texts, below)
    elif type(value) is list:
        for index, member in enumerate(value):
            names(member, shortest, texts, f"{path}/{index}")
    elif type(value) is str and len(value) >= shortest and is_plain(value):
        texts.append(Text(Target.PROMPT, path, value))


class _Rest:
    """One walk over a body; `found` is what it came upon."""

    def __init__(self, texts: list[Text]) -> None:
        self.found: list[Text] = []
        self._texts = texts
        # A text that was read is the very string of the body, unless it stood in JSON or in base64.
        self._read = {id(text.text) for text in texts}
        self._keys: frozenset[str] | None = None
        self._parsed: frozenset[str] | None = None

    def read(self, value: Any, path: str, name: str = "") -> None:
        """Read everything below a container, which is the value of the member `name`."""
        if type(value) is dict:
            for key, member in value.items():
                if key not in _WORDS and not is_name(key):
                    self._key(key, path)
                if type(member) is str:
                    if (
                        member not in _WORDS
                        and id(member) not in self._read
                        and key not in _SEALED
                        and (key not in _FILES or value.get("type") != "redacted_thinking")
                    ):
                        self._string(key, member, path)
                elif type(member) is int or type(member) is float:
                    if LEAST_NUMBER <= member <= MOST_NUMBER:
                        number_text(member, Target.PROMPT, pointer(path, key), self.found)
                elif type(member) is dict or (type(member) is list and key not in _SEALED):
                    self.read(member, pointer(path, key), key)
        elif type(value) is list:
            for index, member in enumerate(value):
                if type(member) is str:
                    if id(member) not in self._read:
                        self._string(name if name in _FILES else "", member, path, index)
                elif type(member) is int or type(member) is float:
                    if LEAST_NUMBER <= member <= MOST_NUMBER:
                        number_text(member, Target.PROMPT, f"{path}/{index}", self.found)
                elif type(member) in _CONTAINERS:
                    self.read(member, f"{path}/{index}")

    def _key(self, key: str, path: str) -> None:
        if self._keys is None:
            self._keys = frozenset([text.path for text in self._texts if text.path.endswith("#")])
        place = key_pointer(path, key)
        if place not in self._keys and not (key[0] == "$" and is_name(key[1:])):
            self.found.append(Text(Target.PROMPT, place, key))

    def _string(self, key: str, text: str, path: str, index: int = -1) -> None:
        if (
            not text
            or _PLAIN.fullmatch(text) is not None
            or ((key in _URLS or key in _FILES) and DATA_URL.match(text) is not None)
        ):
            return
        place = pointer(path, key) if index < 0 else f"{path}/{index}"
        if key in _FILES and (_ENCODED.fullmatch(text) is not None or self._was_decoded(place)):
            return
        if text[0] not in '{["' or place not in self._holders():
            self.found.append(Text(Target.PROMPT, place, text))

    def _was_decoded(self, place: str) -> bool:
        """Whether what stands there in base64 was read."""
        inside = f"{place};"
        return any(text.path.startswith(inside) for text in self._texts)

    def _holders(self) -> frozenset[str]:
        """The places of arguments whose JSON was read: what was read in them lies below."""
        if self._parsed is None:
            places: set[str] = set()
            for text in self._texts:
                start = text.path.find(_BELOW_ARGUMENTS)
                while start >= 0:
                    end = start + len(_BELOW_ARGUMENTS) - 1
                    places.add(text.path[:end])
                    start = text.path.find(_BELOW_ARGUMENTS, end)
            self._parsed = frozenset(places)
        return self._parsed
