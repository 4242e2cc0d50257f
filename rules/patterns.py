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

_FLAG_BITS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_WIDE_ESCAPE = re.compile(r"\\[^\w\s]?[WSDBpPxXuUN]")
_UNBOUNDED_WIDE = re.compile(r"(?:\.|\[\^(?:\\.|[^\]\\])+\]|\\[WSD])(?:[*+]|\{\d+,\})")
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
    source = f"(?{flags}){key.re}" if flags else key.re
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(source.encode(), options)  # type: ignore[no-any-return]
    except re2.error as error:
        raise PatternRefused(f"RE2 refuses it: {_text(error)}") from None


class Regexps(dict[int, Regexp]):
    """The RE2 forms of numbered patterns, each made when it is first needed."""

    def __init__(self, keys: Sequence[PatternKey], *, at_lines: bool = False) -> None:
        super().__init__()
        self._keys = keys
        self._at_lines = at_lines

    def __missing__(self, number: int) -> Regexp:
        made = self[number] = regexp(self._keys[number], at_lines=self._at_lines)
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
    if "\0" in key.re:
        raise PatternRefused("a NUL character would end the pattern early; write \\x00")
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
