"""Where a text that is not finished may end inside a match: the earliest place from which more text could make one.

For every pattern a second one is derived that matches its *beginnings* at the end of the text, and the whole match
while it is not certain yet that it ends there. RE2 answers for all patterns of a proxy at once, in linear time, and
the text before that place can go out: on prose that is nearly all of it, where a fixed hold of the longest possible
match would cost a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

# The parser of the standard library: its tree is the only complete description of a pattern's syntax.
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

import re2

from rules.patterns import PatternKey, PatternRefused, Regexp, settling_margin

MAX_HELD_BYTES: Final = 1024
"""The engine finds no longer match in a stream, so nothing is held for longer."""
_GROUP_CHARACTERS: Final = 16_384
"""RE2 compiles with the interpreter's lock held, in a time that grows faster than the source: a few of this size each are
compiled in as many milliseconds and searched nearly as fast as one of all."""
_PROGRAM_BYTES: Final = 32 * 1024 * 1024
"""A bound, not what is used. With less the automaton of long tokens does not fit: it is made anew for every piece of one."""
_EXACT_REPEATS: Final = 16
"""A wider repeat counts as one without end: that may hold a text for longer, never shorter, and its program is far smaller."""
_FLAG_LETTERS: Final = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
_CATEGORIES: Final = {
    c.CATEGORY_DIGIT: r"\d",
    c.CATEGORY_NOT_DIGIT: r"\D",
    c.CATEGORY_SPACE: r"\s",
    c.CATEGORY_NOT_SPACE: r"\S",
    c.CATEGORY_WORD: r"\w",
    c.CATEGORY_NOT_WORD: r"\W",
}
_WARMING: Final = b'He wrote "user_name": ann.lee@mail.example.org, +49 30 901820, key sk-4eC39HqL in C:/tmp\n'
"""A text with the beginnings that rules look for."""
_PLACES: Final = {
    c.AT_BEGINNING: "^",
    c.AT_END: "$",
    c.AT_BOUNDARY: r"\b",
    c.AT_NON_BOUNDARY: r"\B",
}


class Pending:
    """The unfinished matches of a set of patterns."""

    __slots__ = ("_holds_all", "_regexps")

    def __init__(self, patterns: Iterable[PatternKey]) -> None:
        keys = list(dict.fromkeys(patterns))
        self._regexps: list[Regexp] = []
        self._holds_all = False
        """Whether a pattern has too many beginnings to tell them from other text: as much is held as a match may be long."""
        for sources in _groups([unfinished(key) for key in keys]):
            self._add(sources)
        # The engine builds its automaton with the first search, which is not left to the first stream.
        self.start(_WARMING)

    def start(self, data: bytes, position: int = 0) -> int:
        """The earliest offset at or after `position` where an unfinished match may begin; the length if there is none.

        `data` is UTF-8; what lies before `position` is context for `\\b`.
        """
        earliest = position if self._holds_all else len(data)
        for regexp in self._regexps:
            match = regexp.search(data, position)
            if match is not None:
                earliest = min(earliest, match.start())
        if earliest < len(data) - MAX_HELD_BYTES:
            earliest = len(data) - MAX_HELD_BYTES
            while data[earliest] & 0xC0 == 0x80:
                earliest += 1
        return earliest

    def _add(self, sources: Sequence[str]) -> None:
        """Compile one regular expression of these; where RE2 cannot hold it, two of its halves."""
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _PROGRAM_BYTES
        try:
            self._regexps.append(re2.compile(f"(?:{'|'.join(sources)})\\z".encode(), options))
        except re2.error:
            if len(sources) == 1:
                self._holds_all = True
                return
            middle = len(sources) // 2
            self._add(sources[:middle])
            self._add(sources[middle:])


def _groups(sources: Iterable[str]) -> Iterator[list[str]]:
    """The sources in lists of a bounded length together."""
    group: list[str] = []
    size = 0
    for source in sources:
        if group and size + len(source) > _GROUP_CHARACTERS:
            yield group
            group, size = [], 0
        group.append(source)
        size += len(source)
    if group:
        yield group


@lru_cache(maxsize=1_024)
def growth(key: PatternKey) -> Callable[[bytes, int], bool]:
    """Tells whether an unfinished text, from an offset at which the pattern matches, may become a longer match."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PROGRAM_BYTES
    try:
        expression: Any = re2.compile(f"(?:{unfinished(key)})\\z".encode(), options)
    except re2.error:
        return lambda data, start: True  # As long as a match may be, see `MAX_HELD_BYTES`.
    match, from_there = expression._regexp.Match, re2._Anchor.ANCHOR_START
    return lambda data, start: match(from_there, data, start, len(data))[0][0] >= 0


def unfinished(key: PatternKey) -> str:
    """The RE2 source that matches, up to the end of a text, what may still become a match of the pattern."""
    tree = parser.parse(key.re, re.ASCII)
    flags = key.flags + "".join(letter for flag, letter in _FLAG_LETTERS.items() if tree.state.flags & flag)
    margin = settling_margin(key) - 1
    source = _beginnings(tree, f"(?s:.){{0,{margin}}}" if margin else "")
    prefix = "".join(sorted(set(flags)))
    return f"(?{prefix}:{source})" if prefix else f"(?:{source})"


# --- From the tree back to a pattern ----------------------------------------------------------------------------------


def _whole(nodes: Any) -> str:
    return "".join(_node(op, value) for op, value in nodes)


def _beginnings(nodes: Any, after: str | None = None) -> str:
    """Matches every proper beginning of a sequence: stop inside the first element, or take it and stop in the rest.

    With `after` also the whole sequence and what `after` matches.
    """
    source = after
    for op, value in reversed(list(nodes)):
        if source is not None and source == after and op in (c.BRANCH, c.SUBPATTERN):
            source = _node_beginnings(op, value, after)
            continue
        stop = _node_beginnings(op, value)
        source = f"(?:{stop})" if source is None else f"(?:{stop}|{_node(op, value)}{source})"
    return source or ""


def _node(op: Any, value: Any) -> str:
    if op is c.LITERAL:
        return _char(value)
    if op is c.NOT_LITERAL:
        return f"[^{_char(value)}]"
    if op is c.ANY:
        return "."
    if op is c.IN:
        return _class(value)
    if op is c.AT:
        return _PLACES[value]
    if op is c.BRANCH:
        return f"(?:{'|'.join(_whole(branch) for branch in value[1])})"
    if op is c.SUBPATTERN:
        return _flagged(value, _whole(value[3]))
    low, high, inner = _repeat(op, value)
    bound = f"{{{low},}}" if high is None else f"{{{low},{high}}}"
    return f"(?:{_whole(inner)}){bound}"


def _node_beginnings(op: Any, value: Any, after: str | None = None) -> str:
    """A proper beginning of one element; the empty one is always possible, at the end of the text."""
    if op is c.BRANCH:
        return f"(?:{'|'.join(_beginnings(branch, after) or '(?:)' for branch in value[1])})"
    if op is c.SUBPATTERN:
        return _flagged(value, _beginnings(value[3], after))
    if op in (c.MAX_REPEAT, c.MIN_REPEAT):
        _, high, inner = _repeat(op, value)
        whole = _whole(inner)
        before = f"(?:{whole})*" if high is None else f"(?:{whole}){{0,{high - 1}}}" if high > 1 else ""
        return before + (_beginnings(inner) or "(?:)")
    return "(?:)"


def _repeat(op: Any, value: Any) -> tuple[int, int | None, Any]:
    if op not in (c.MAX_REPEAT, c.MIN_REPEAT):
        raise PatternRefused(f"its beginnings cannot be recognised: {op}")
    low, high, inner = value
    return low, None if high is c.MAXREPEAT or high - low > _EXACT_REPEATS else high, inner


def _flagged(value: Any, source: str) -> str:
    """A group with the flags that it switches."""
    _, added, removed, _ = value
    letters = "".join(letter for flag, letter in _FLAG_LETTERS.items() if added & flag)
    without = "".join(letter for flag, letter in _FLAG_LETTERS.items() if removed & flag)
    return f"(?{letters}{'-' + without if without else ''}:{source})"


def _class(items: Any) -> str:
    pieces: list[str] = []
    for op, value in items:
        if op is c.NEGATE:
            pieces.insert(0, "^")
        elif op is c.LITERAL:
            pieces.append(_char(value))
        elif op is c.RANGE:
            pieces.append(f"{_char(value[0])}-{_char(value[1])}")
        else:
            pieces.append(_CATEGORIES[value])
    return f"[{''.join(pieces)}]"


def _char(code: int) -> str:
    return f"\\x{{{code:x}}}"
