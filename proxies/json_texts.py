"""String leaves of JSON values as `Text`s, for every protocol. `strict_json` has bounded the depth before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from rules.masking.json_strings import LEAST_NUMBER, MOST_NUMBER
from rules.model import Target, Text

BASE64_SUFFIX: Final = ";base64"
"""Ends the place of a text that stands there in base64."""
DATA_URL_SUFFIX: Final = ";data-url"
"""Ends the place of a text that stands there in the base64 of a `data:` URL."""
DESCRIPTION_KEYS: Final = frozenset({"description", "title", "$comment"})


def pointer(path: str, key: str | int) -> str:
    """The RFC 6901 pointer of a member or element below `path`."""
    if type(key) is str and ("~" in key or "/" in key):
        key = key.replace("~", "~0").replace("/", "~1")
    return f"{path}/{key}"


def key_pointer(path: str, key: str) -> str:
    """The place of the key itself: its member's pointer and a `#`, as relative JSON pointers write it."""
    return pointer(path, key) + "#"


def is_name(key: str) -> bool:
    """Whether a key is a plain name of a program, which says nothing and holds no value; a key that looks like one is none.

    Words of other scripts are words, and what mixes letters and digits at length may be a credential.
    """
    if not key.isidentifier() or not key.isascii():
        return len(key) < 2
    return len(key) < _SHORTEST_CREDENTIAL or _DIGIT.search(key) is None or _NUMBERED_WORDS.fullmatch(key) is not None


def leaves(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """Append every string below `value` with one target. Keys that are more than a plain name are texts too.

    Nothing is left out by its name: a caller that knows a member to be signed, encrypted or binary skips it itself.
    """
    if type(value) is str:
        if value:
            texts.append(Text(target, path, value))
    elif type(value) is dict:
        for key, member in value.items():
            if not is_name(key):
                texts.append(Text(target, key_pointer(path, key), key))
            if type(member) in _CARRIERS:
                leaves(member, target, pointer(path, key), texts)
    elif type(value) is list:
        for index, member in enumerate(value):
            if type(member) in _CARRIERS:
                leaves(member, target, f"{path}/{index}", texts)


def schema_leaves(value: Any, path: str, texts: list[Text]) -> None:
    """Append every string of a JSON Schema: descriptions and titles apart from the rest (enums, defaults, names)."""
    if type(value) is dict:
        for key, member in value.items():
            below = pointer(path, key)
            if not is_name(key) and not key.startswith("$"):
                texts.append(Text(Target.SCHEMA, key_pointer(path, key), key))
            if type(member) is str:
                if member:
                    target = Target.PARAM_DESCRIPTION if key in DESCRIPTION_KEYS else Target.SCHEMA
                    texts.append(Text(target, below, member))
            elif type(member) in _CARRIERS:
                schema_leaves(member, below, texts)
    elif type(value) is list:
        for index, member in enumerate(value):
            schema_leaves(member, f"{path}/{index}", texts)
    elif type(value) is str and value:
        texts.append(Text(Target.SCHEMA, path, value))


def number_leaves(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """Append the numbers below `value` that are as long as those of payment cards, as the texts that they would be.

    Shorter ones tell nothing without words around them, longer ones are identifiers.
    """
    members: Iterable[tuple[str | int, Any]] = ()
    if type(value) is dict:
        members = value.items()
    elif type(value) is list:
        members = enumerate(value)
    for key, member in members:
        if type(member) is int or type(member) is float:
            if LEAST_NUMBER <= member <= MOST_NUMBER:
                number_text(member, target, pointer(path, key), texts)
        elif type(member) is dict or type(member) is list:
            number_leaves(member, target, pointer(path, key), texts)


def number_text(number: Any, target: Target, path: str, texts: list[Text]) -> None:
    """Append a number as the text of its digits, where it is a whole one, however it is written. (Any: machine code would make a
    float of every number, and lose digits.)"""
    if number == int(number):
        texts.append(Text(target, path, str(int(number))))


_SHORTEST_CREDENTIAL: Final = 16
_DIGIT: Final = re.compile("[0-9]")
_NUMBERED_WORDS: Final = re.compile("(?:[A-Za-z]{1,15}[0-9]{0,3}_{1,2})*(?:[A-Za-z]{1,15}[0-9]{0,3})?")
_CARRIERS: Final = frozenset({str, dict, list})
