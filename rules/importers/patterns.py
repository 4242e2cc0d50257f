"""A pattern of another product in the syntax of our engines, or the reason why that cannot be."""

from __future__ import annotations

import re
from typing import Any

from rules.packs import MAX_PATTERN_CHARS
from rules.patterns import PatternRefused, check, key_of

_EXPRESSIONS = frozenset({"", "regex", "regexp", "re", "pattern"})
_WHOLE_TEXTS = frozenset({"exact", "equals"})
_TEXTS = _WHOLE_TEXTS | {"contains", "literal", "string", "substring", "keyword"}
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


def convert(text: Any, kind: str, *, ignore_case: bool, keep_ends: bool = False) -> tuple[dict[str, str], list[str]]:
    """(the pattern as a member of `match`, what was changed); raises `NotCarried`.

    `kind` is the other product's word: a regular expression, the text itself, or the text and nothing else. With
    `keep_ends` gaps at the ends are part of what the pattern hits, as where a hit is replaced.
    """
    if not isinstance(text, str) or not text:
        raise NotCarried("is not a pattern")
    changes: list[str] = []
    flags = {"i"} if ignore_case or kind in _TEXTS else set()
    if kind in _TEXTS:
        source = re.escape(text)
        if kind in _WHOLE_TEXTS:
            source = f"^{source}$"
    elif kind in _EXPRESSIONS:
        source, flags, changes = _regex(text, flags, keep_ends)
    else:
        raise NotCarried(f"patterns of the type {kind[:40]!r} are not known here")
    if len(source) > MAX_PATTERN_CHARS:
        raise NotCarried(f"is longer than {MAX_PATTERN_CHARS} characters")
    ordered = "".join(letter for letter in "ims" if letter in flags)
    try:
        check(key_of(source, ordered))
    except PatternRefused as error:
        raise NotCarried(str(error)) from error
    return {"re": source, **({"flags": ordered} if ordered else {})}, changes


def _regex(text: str, flags: set[str], keep_ends: bool) -> tuple[str, set[str], list[str]]:
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
    if trimmed and not keep_ends:
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
