"""One pattern in its three engines.

Hyperscan answers "does it occur?" for all patterns at once; RE2 answers "where exactly, and what are the groups?"
for one; Python's `re` only confirms that the pattern means the same to a reader of Python. The Hyperscan form is
widened (`prefilter`) and may say yes too often, never too rarely. RE2 decides, and it is linear for every pattern.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import hyperscan
import re2

from rules import prefilter
from rules.prefilter import (
    Extent,
    Medium,
    NotUnderstood,
    Reach,
    extent,
    forms,
    is_rare,
    is_sparse,
    reach,
    whole_reach,
    widen,
)

RE2_BYTES = 8 * 1024 * 1024
"""Memory of one compiled pattern and its caches; RE2 gets slower, not wrong, when a text needs more."""

MAX_DATABASE_BYTES = 1024 * 1024
"""Of one pattern, compiled alone. A larger one would push the others out of the processor's caches."""
MAX_COMPILE_SECONDS = 5.0
"""Of processor time for one pattern."""
MAX_INSTRUCTIONS = 30_000
"""Of the RE2 form of one pattern. Workers make the forms between two calls, which a larger one would hold for tens of
milliseconds."""

SETTLING_BYTES = 16
SURROUNDING_BYTES = 256
"""So many letters and digits on both sides of a place are its surroundings: most of what is looked for is shorter."""

_GROWS_BY_STEPS = re.compile(r"\)(?:[*+?]|\{)|\](?:[*+?]|\{\d+,\d*\})\)*\\b\)*$")
_FLAG_BITS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_COUNT = re.compile(r"\{\d*,\d+\}(?![?)|]|$)")
_UNBOUNDED = re.compile(r"[*+]|\{\d+,\}")
_TEXT_ANCHOR = re.compile(r"(?<!\\)(?:\\\\)*\\[AzZ]")


_ORDINARY_TEXT = b"""
You are a helpful AI assistant. What is the best way to write a short story about a dog, and how do I explain it to my
users? Please give me step by step instructions: first show the answer, then tell me what you must change before we send
the email with the link to https://www.example.com. The model will always respond to your question or request; if it does
not, run the system prompt again and never ignore the rules. Act as a teacher, pretend to be a character in a game, and
describe the scene. Create an image, read or delete the file, install the tool, execute this code now and output the data:
def main(): return {"id": 2024}; In the summary, list all messages of the user and translate the text into English.
I want to share and provide information, for example the name, address and phone number. Is this an account or a new
password? Do not repeat the response; only print what was said above, instead of the first reply. Then stop. Thank you!
"""
"""What people write to models and models read: a pattern that occurs even here tells nothing where it occurs."""


class PatternKey(NamedTuple):
    """What makes two patterns the same."""

    re: str
    flags: str


class Expression(NamedTuple):
    """A form of a pattern for Hyperscan."""

    medium: Medium
    source: bytes
    flags: int


class RegexpMatch(Protocol):
    """The part of an RE2 match that is used; offsets are bytes."""

    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...
    def span(self, group: int = 0) -> tuple[int, int]: ...


class Regexp(Protocol):
    """The part of an RE2 regular expression that is used. Text outside `pos`..`endpos` is context for `\\b` and `^`."""

    @property
    def groups(self) -> int: ...
    @property
    def programsize(self) -> int: ...
    def search(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> RegexpMatch | None: ...
    def finditer(self, text: bytes) -> Iterator[RegexpMatch]: ...


Spans = Sequence[tuple[int, int]]
"""Where a match lies and where each of its groups does; a group that is not part of the match lies at -1."""
Find = Callable[[bytes, int, int], Spans | None]
"""The first match of one pattern between two offsets, in order and within the text."""


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


@lru_cache(maxsize=4_096)
def is_common(key: PatternKey) -> bool:
    """Whether a pattern occurs in so many texts that looking for it everywhere tells nothing."""
    return (
        not is_rare(key.re, is_caseless="i" in key.flags)
        and regexp(PatternKey(key.re, "i")).search(_ORDINARY_TEXT) is not None
    )


@lru_cache(maxsize=8_192)
def is_telling(key: PatternKey) -> bool:
    """Whether a pattern is seen in so few texts that its surroundings can be read each time."""
    return prefilter.is_telling(key.re, is_caseless="i" in key.flags)


def with_short_gaps(pattern: str) -> str:
    """The pattern with its gaps made lazy: a bounded count of `.` or of a negated class that something follows.

    This changes where a match ends, never whether there is one. It keeps two mentions apart that a greedy gap would
    join, leaves a value after a gap whole, and lets a match in a stream be certain as soon as it is complete.
    """
    pieces: list[str] = []
    position = 0
    for token, end in _tokens(pattern):
        if end <= position:
            continue
        pieces.append(pattern[position:end])
        position = end
        count = _COUNT.match(pattern, end) if _is_gap(token) else None
        if count:
            pieces.append(count[0] + "?")
            position = count.end()
    return "".join(pieces)


def settling_margin(key: PatternKey) -> int:
    """How many bytes must follow a match in an unfinished text before it is certain where the match ends.

    One is enough where a match grows character by character. A repeated group (`(?:[ -]?\\d){12,18}`) may grow by
    several at once, and so may a class that `\\b` ends between its members.
    """
    return SETTLING_BYTES if _GROWS_BY_STEPS.search(key.re) else 1


def _tokens(pattern: str) -> Iterator[tuple[str, int]]:
    """The escapes, classes and single characters of a pattern, each with its end."""
    return ((token[0], token.end()) for token in _TOKEN.finditer(pattern))


def _is_gap(token: str) -> bool:
    return token == "." or token.startswith("[^")  # noqa: S105


def _has_unbounded_gap(pattern: str) -> bool:
    return any(
        (_is_gap(token) or token in ("\\W", "\\S", "\\D")) and _UNBOUNDED.match(pattern, end)
        for token, end in _tokens(pattern)
    )


def reach_of(key: PatternKey) -> Reach | None:
    """How far the matches of a sparse pattern stretch; None for one of which not every place is known."""
    is_caseless = "i" in key.flags
    return reach(key.re, is_caseless=is_caseless) if is_sparse(key.re, is_caseless=is_caseless) else None


def extent_of(key: PatternKey, *, is_overlooked: bool) -> Extent:
    """How long the matches of a pattern can be; one that is overlooked in its best form is looked for in another as well."""
    return extent(key.re, is_caseless="i" in key.flags, also_whole=is_overlooked)


UNKNOWN = Extent(None, None)


@lru_cache(maxsize=4_096)
def _shared(key: PatternKey) -> Regexp:
    """One form for all rulesets of a process: most of their patterns are the same."""
    return regexp(key)


class Regexps(dict[int, Regexp]):
    """The RE2 forms of numbered patterns, each made when it is first needed or by `prepare`."""

    def __init__(
        self,
        keys: Sequence[PatternKey],
        reaches: Sequence[Reach | None],
        extents: Sequence[Extent] = (),
        shared: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        self.keys_by_number = keys
        self.shared = shared
        """The patterns of several rules: what is found of them is worth remembering."""
        self.finders = _Finders(self)
        """By pattern number: the quickest way to the spans of its first match."""
        self.margins = tuple(map(settling_margin, keys))
        """By pattern number: how many bytes after a match make it certain that more text would not extend it."""
        self.reaches = reaches
        """By pattern number, see `reach_of`."""
        self.extents = extents or (UNKNOWN,) * len(keys)
        """By pattern number, see `extent_of`."""
        self.long = frozenset(
            number for number, one in enumerate(self.extents) if one.sought is None or one.sought > SURROUNDING_BYTES
        )
        """Of these more is looked for than the surroundings of a place hold."""

    def __missing__(self, number: int) -> Regexp:
        made = self[number] = _shared(self.keys_by_number[number])
        return made

    def prepare(self) -> Iterator[None]:
        """Make the forms that are not made yet, one at each step."""
        for number in range(len(self.keys_by_number)):
            if number not in self.finders:
                _ = self.finders[number]
                yield


class _Finders(dict[int, Find]):
    """What `Regexps.finders` is."""

    def __init__(self, regexps: Regexps) -> None:
        super().__init__()
        self._regexps = regexps

    def __missing__(self, number: int) -> Find:
        made = self[number] = _finder(self._regexps[number])
        return made


def _finder(expression: Any) -> Find:
    """Ask RE2 itself: the methods of its wrapper run a generator and make an object for every single search."""
    match, anywhere = expression._regexp.Match, re2._Anchor.UNANCHORED

    def find(data: bytes, low: int, high: int) -> Spans | None:
        if low > high:
            return None
        spans: Spans = match(anywhere, data, low, high)
        return None if spans[0][0] < 0 else spans

    return find


def find_with(key: PatternKey) -> Find:
    """The quickest way to the spans of the first match of a pattern."""
    return _finder(regexp(key))


class Locators(dict[int, Find]):
    """Where numbered patterns occur in a buffer of several texts: `^` and `$` match at every line."""

    def __init__(self, keys: Sequence[PatternKey], regexps: Regexps) -> None:
        super().__init__()
        self._keys = keys
        self._regexps = regexps

    def __missing__(self, number: int) -> Find:
        key = self._keys[number]
        anchored = "^" in key.re or "$" in key.re
        made = self[number] = _finder(regexp(key, at_lines=True)) if anchored else self._regexps.finders[number]
        return made


def expressions(key: PatternKey, *, every: bool) -> list[Expression]:
    """The forms of a pattern for Hyperscan; raises `PatternRefused` for syntax that the engines do not share.

    `^` and `$` are at lines, because a buffer may hold several texts. With `every`, a sparse pattern reports each of its
    places and not only one.
    """
    is_caseless = "i" in key.flags
    try:
        found = forms(key.re, is_caseless=is_caseless)
        once = not every or not is_sparse(key.re, is_caseless=is_caseless)
    except NotUnderstood as error:
        raise PatternRefused(f"not portable: {error}") from None
    flags: int = hyperscan.HS_FLAG_MULTILINE
    if once:
        flags |= hyperscan.HS_FLAG_SINGLEMATCH
    if "s" in key.flags:
        flags |= hyperscan.HS_FLAG_DOTALL
    caseless = hyperscan.HS_FLAG_CASELESS if is_caseless else 0
    return [
        Expression(form.medium, form.source, flags | (0 if form.medium is Medium.WORDS else caseless)) for form in found
    ]


def fallback(key: PatternKey, *, every: bool) -> Expression:
    """The form of a whole pattern over bytes; with `every` it reports each of its places where `fallback_reach` knows one."""
    is_caseless = "i" in key.flags
    flags: int = hyperscan.HS_FLAG_MULTILINE | (hyperscan.HS_FLAG_CASELESS if is_caseless else 0)
    if "s" in key.flags:
        flags |= hyperscan.HS_FLAG_DOTALL
    if not every or fallback_reach(key) is None:
        flags |= hyperscan.HS_FLAG_SINGLEMATCH
    return Expression(Medium.BYTES, widen(key.re, is_caseless=is_caseless), flags)


def fallback_reach(key: PatternKey) -> Reach | None:
    """How far the matches of a pattern stretch around the places of its `fallback`."""
    return whole_reach(key.re, is_caseless="i" in key.flags)


ALWAYS = Expression(Medium.BYTES, rb"[\x00-\xff]", hyperscan.HS_FLAG_SINGLEMATCH)
"""Found in every text: for a pattern that cannot be looked for in any other way."""


def found_by_form(form: Expression, text: bytes) -> bool:
    """Whether a form occurs in a text, by RE2."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    flags = (
        "m" + "i" * bool(form.flags & hyperscan.HS_FLAG_CASELESS) + "s" * bool(form.flags & hyperscan.HS_FLAG_DOTALL)
    )
    try:
        return re2.compile(f"(?{flags})".encode() + form.source, options).search(text) is not None
    except re2.error as error:
        raise PatternRefused(f"RE2 refuses its form: {_text(error)}") from None


def check(key: PatternKey) -> int:
    """The number of groups of a sound pattern; raises `PatternRefused` when an engine or the syntax rules refuse it."""
    if "\0" in key.re or any(0xD800 <= ord(char) <= 0xDFFF for char in key.re):
        raise PatternRefused("it holds a NUL or a lone surrogate; write \\x00 for a NUL")
    if _TEXT_ANCHOR.search(key.re):
        raise PatternRefused("\\A, \\z and \\Z are not portable; use ^ and $")
    if _has_unbounded_gap(key.re):
        raise PatternRefused("an unbounded gap such as .* must have an upper bound, for example .{0,80}")
    _check_hyperscan(key)
    exact = regexp(key)
    if exact.programsize > MAX_INSTRUCTIONS:
        raise PatternRefused(
            f"it takes {exact.programsize:,} instructions in RE2, more than {MAX_INSTRUCTIONS:,}; use smaller counts"
        )
    _check_python(key)
    return exact.groups


def _check_python(key: PatternKey) -> None:
    flags = re.ASCII
    for letter in key.flags:
        flags |= _FLAG_BITS[letter]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(key.re, flags)
    except (re.error, RecursionError, OverflowError, FutureWarning) as error:
        raise PatternRefused(f"Python refuses it: {error}") from None


def _check_hyperscan(key: PatternKey) -> None:
    started_at = time.thread_time()
    for mode in (hyperscan.HS_MODE_BLOCK, hyperscan.HS_MODE_STREAM):
        database = hyperscan.Database(mode=mode)
        try:
            wanted = expressions(key, every=False)
            database.compile(
                expressions=[one.source for one in wanted],
                ids=list(range(len(wanted))),
                flags=[one.flags for one in wanted],
            )
            size = len(hyperscan.dumpb(database))
        except hyperscan.error as error:
            raise PatternRefused(f"Hyperscan refuses it: {_text(error)}") from None
        if size > MAX_DATABASE_BYTES:
            raise PatternRefused(f"it takes {size:,} bytes when compiled, more than {MAX_DATABASE_BYTES:,}")
    if time.thread_time() - started_at > MAX_COMPILE_SECONDS:
        raise PatternRefused(f"it takes more than {MAX_COMPILE_SECONDS:g} s to compile; use fewer words and counts")


def _text(error: Exception) -> str:
    value = error.args[0] if error.args else error
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(". ")
