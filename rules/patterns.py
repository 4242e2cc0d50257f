"""One pattern in its three engines.

Hyperscan answers "does it occur?" for all patterns at once; RE2 answers "where exactly, and what are the groups?"
for one; Python's `re` only confirms that the pattern means the same to a reader of Python. The Hyperscan side may
say yes too often, never too rarely: `^` and `$` always match at lines there, and a pattern that Hyperscan finds too
large is compiled in its approximating mode. RE2 decides, and it is linear for every pattern.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import hyperscan
import re2

RE2_BYTES = 2 * 1024 * 1024
"""Memory of one compiled pattern and its caches; RE2 gets slower, not wrong, when a text needs more."""

_FLAG_BITS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_WIDE_ESCAPE = re.compile(r"\\[^\w\s]?[WSDBpPxXuUN]")
_UNBOUNDED_WIDE = re.compile(r"(?:\.|\[\^(?:\\.|[^\]\\])+\]|\\[WSD])(?:[*+]|\{\d+,\})")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_COUNT = re.compile(r"\{\d*,\d+\}(?![?)|]|$)")
_TEXT_ANCHOR = re.compile(r"(?<!\\)(?:\\\\)*\\[AzZ]")


class PatternKey(NamedTuple):
    """What makes two patterns the same."""

    re: str
    flags: str


class RegexpMatch(Protocol):
    """The part of an RE2 match that is used; offsets are bytes."""

    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...


class Regexp(Protocol):
    """The part of an RE2 regular expression that is used. Text outside `pos`..`endpos` is context for `\\b` and `^`."""

    @property
    def groups(self) -> int: ...
    def search(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> RegexpMatch | None: ...


class PatternRefused(ValueError):
    """A pattern cannot be used; the message says why."""


def key_of(pattern: str, flags: str) -> PatternKey:
    """The key of a pattern, with its flags in one order."""
    return PatternKey(pattern, "".join(sorted(flags)))


def regexp(key: PatternKey, *, at_lines: bool = False) -> Regexp:
    """The RE2 form of a pattern over UTF-8 bytes; `at_lines` lets `^` and `$` match at every line."""
    flags = "".join(sorted({*key.flags, "m"})) if at_lines else key.flags
    source = with_short_gaps(key.re)
    if flags:
        source = f"(?{flags}){source}"
    options = re2.Options()
    options.log_errors = False
    options.max_mem = RE2_BYTES
    try:
        return re2.compile(source.encode(), options)  # type: ignore[no-any-return]
    except re2.error as error:
        raise PatternRefused(f"RE2 refuses it: {_text(error)}") from None


def with_short_gaps(pattern: str) -> str:
    """The pattern with its gaps made lazy: a bounded count of `.` or of a negated class that something follows.

    This changes where a match ends, never whether there is one. It keeps two mentions apart that a greedy gap would
    join, leaves a value after a gap whole, and lets a match in a stream be certain as soon as it is complete.
    """
    pieces: list[str] = []
    position = 0
    while token := _TOKEN.match(pattern, position):
        pieces.append(token[0])
        position = token.end()
        if token[0] == "." or token[0].startswith("[^"):
            count = _COUNT.match(pattern, position)
            if count:
                pieces.append(count[0] + "?")
                position = count.end()
    return "".join(pieces)


class Regexps(dict[int, Regexp]):
    """The RE2 forms of numbered patterns, each made when it is first needed."""

    def __init__(self, keys: Sequence[PatternKey]) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, number: int) -> Regexp:
        made = self[number] = regexp(self._keys[number])
        return made


class Locators(dict[int, Regexp]):
    """The RE2 forms of numbered patterns for a buffer of several texts: `^` and `$` match at every line."""

    def __init__(self, keys: Sequence[PatternKey], regexps: Regexps) -> None:
        super().__init__()
        self._keys = keys
        self._regexps = regexps

    def __missing__(self, number: int) -> Regexp:
        key = self._keys[number]
        anchored = "^" in key.re or "$" in key.re
        made = self[number] = regexp(key, at_lines=True) if anchored else self._regexps[number]
        return made


def expression(key: PatternKey) -> bytes:
    """The source of a pattern for Hyperscan."""
    return key.re.encode()


@functools.lru_cache(maxsize=20_000)
def hyperscan_flags(key: PatternKey) -> int:
    """The Hyperscan flags under which a pattern compiles, in block and in stream mode; raises `PatternRefused`.

    Bytes are faster and smaller than UTF-8 mode, which is needed only where one character of the pattern may be
    several bytes of the text.
    """
    base = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_MULTILINE
    if "i" in key.flags:
        base |= hyperscan.HS_FLAG_CASELESS
    if "s" in key.flags:
        base |= hyperscan.HS_FLAG_DOTALL
    candidates = [base]
    if spans_characters(key.re):
        wide = base | hyperscan.HS_FLAG_UTF8
        candidates = [wide, wide | hyperscan.HS_FLAG_PREFILTER]
    reason = ""
    for flags in candidates:
        reason = _hyperscan_problem(key, flags)
        if not reason:
            return flags
    raise PatternRefused(f"Hyperscan refuses it: {reason}")


def spans_characters(pattern: str) -> bool:
    """Whether one element of the pattern can match a character outside ASCII."""
    if not pattern.isascii() or "[^" in pattern or _WIDE_ESCAPE.search(pattern):
        return True
    return "." in _ESCAPE_OR_CLASS.sub("", pattern)


def check(key: PatternKey) -> int:
    """The number of groups of a sound pattern; raises `PatternRefused` when an engine or the syntax rules refuse it."""
    if "\0" in key.re or any("\ud800" <= char <= "\udfff" for char in key.re):
        raise PatternRefused("it holds a NUL or a lone surrogate; write \\x00 for a NUL")
    if _TEXT_ANCHOR.search(key.re):
        raise PatternRefused("\\A, \\z and \\Z are not portable; use ^ and $")
    if _UNBOUNDED_WIDE.search(key.re):
        raise PatternRefused("an unbounded gap such as .* must have an upper bound, for example .{0,80}")
    flags = re.ASCII if key.re.isascii() else re.NOFLAG
    for letter in key.flags:
        flags |= _FLAG_BITS[letter]
    try:
        compiled = re.compile(key.re, flags)
    except (re.error, RecursionError, OverflowError, FutureWarning) as error:
        raise PatternRefused(f"Python refuses it: {error}") from None
    if compiled.search(""):
        raise PatternRefused("it matches the empty text")
    exact = regexp(key)
    hyperscan_flags(key)
    return exact.groups


def _hyperscan_problem(key: PatternKey, flags: int) -> str:
    for mode in (hyperscan.HS_MODE_BLOCK, hyperscan.HS_MODE_STREAM):
        try:
            hyperscan.Database(mode=mode).compile(expressions=[expression(key)], flags=[flags])
        except hyperscan.error as error:
            return _text(error)
    return ""


def _text(error: Exception) -> str:
    value = error.args[0] if error.args else error
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
