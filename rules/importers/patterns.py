"""A pattern of another product in the syntax of our engines, or the reason why that cannot be."""

from __future__ import annotations

import re
from typing import Any

from rules.packs import MAX_PATTERN_CHARS
from rules.patterns import PatternRefused, check, key_of

GAP_CHARS = 200
"""What an unbounded `.*` becomes: linear engines bound their gaps."""

_INLINE = re.compile(r"^\(\?([a-zA-Z]+)\)")
_GAP = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\.", re.DOTALL)
_UNBOUNDED = re.compile(r"([*+]|\{(\d+),\})\??")
_EITHER_END = re.compile(r"^(?:\.\*\??)+|(?<!\\)(?:\.\*\??)+$")
_UNSUPPORTED = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "look-ahead and look-behind are not in the linear syntax"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]|\(\?P=|\\k<"), "back-references are not in the linear syntax"),
    (re.compile(r"\(\?>|[*+?}]\+"), "atomic groups and possessive counts are not in the linear syntax"),
    (re.compile(r"\(\?\("), "conditional groups are not in the linear syntax"),
)


class NotCarried(ValueError):
    """The pattern cannot be used; the message says why."""


def convert(text: Any, kind: str, *, ignore_case: bool) -> tuple[dict[str, str], list[str]]:
    """(the pattern as a member of `match`, what was changed); raises `NotCarried`.

    `kind` is `regex`, `contains` (the text itself) or `exact` (the text and nothing else).
    """
    if not isinstance(text, str) or not text:
        raise NotCarried("is not a pattern")
    changes: list[str] = []
    flags = {"i"} if ignore_case else set()
    if kind in ("contains", "exact", "literal", "string"):
        source = re.escape(text)
        if kind == "exact":
            source = f"^{source}$"
    else:
        source, flags, changes = _regex(text, flags)
    if len(source) > MAX_PATTERN_CHARS:
        raise NotCarried(f"is longer than {MAX_PATTERN_CHARS} characters")
    ordered = "".join(letter for letter in "ims" if letter in flags)
    try:
        check(key_of(source, ordered))
    except PatternRefused as error:
        raise NotCarried(str(error)) from error
    return {"re": source, **({"flags": ordered} if ordered else {})}, changes


def _regex(text: str, flags: set[str]) -> tuple[str, set[str], list[str]]:
    changes: list[str] = []
    source = text
    while found := _INLINE.match(source):
        if unknown := set(found[1]) - set("imsuU"):
            raise NotCarried(f"the flag {''.join(sorted(unknown))} has no counterpart")
        if "U" in found[1]:
            raise NotCarried("the flag U (ungreedy) has no counterpart")
        flags = flags | (set(found[1]) & set("ims"))
        source = source[found.end() :]
    for pattern, reason in _UNSUPPORTED:
        if pattern.search(source):
            raise NotCarried(reason)
    source = source.replace(r"\A", "^").replace(r"\z", "$").replace(r"\Z", "$")
    trimmed = _EITHER_END.sub("", source)
    if trimmed and trimmed != source:
        # A match is looked for anywhere, so that leading and trailing gaps say nothing.
        source = trimmed
    bounded = _with_bounds(source)
    if bounded != source:
        changes.append(f"its unbounded gaps (.*) reach at most {GAP_CHARS} characters")
    return bounded, flags, changes


def _with_bounds(source: str) -> str:
    pieces: list[str] = []
    position = 0
    for token in _GAP.finditer(source):
        if token.start() < position:
            continue
        pieces.append(source[position : token.end()])
        position = token.end()
        if not (token[0] == "." or token[0].startswith("[^") or token[0] in ("\\W", "\\S", "\\D")):
            continue
        if count := _UNBOUNDED.match(source, position):
            least = count[2] or ("0" if count[1] == "*" else "1")
            pieces.append(f"{{{least},{max(GAP_CHARS, int(least))}}}")
            position = count.end()
    return "".join(pieces) + source[position:]
