"""Hyperscan, wrapped in one place so that the traps of its Python binding exist nowhere else.

The binding's rules, read in its source, that everything below follows:

* a database made by `loadb` has no scratch of its own, and scanning without one reads foreign memory: every scan
  here passes a scratch;
* `Stream.close` cannot be given a scratch (it mixes up its arguments), so it uses the database's own: that one
  exists for closing only, and closing is behind a lock;
* a scratch serves one scan at a time and the scan releases the GIL: each thread has its own, on a shared database;
* a stream only borrows its callback, its context and its database: `Stream` owns all of them;
* a stream that is never closed leaks its state; closing it twice frees it twice: `Stream.close` runs once, at the
  latest when the object is collected;
* `Database.stream` returns one reference too many, which exactly one call of `__enter__` consumes;
* the error of a callback is lost in stream mode: the callback only adds to a dictionary.

And one of Vectorscan's own (5.4.12): a whole text is sometimes not searched to its last bytes, so that a match at its
very end is missed (`[xy]1|a.` in a text that ends with `x1`). Every whole text is padded; a test holds this.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hyperscan

from rules.database_parts import Compiled, Part
from rules.form_samples import BEFORE, overlooked
from rules.loaded_database import LoadedDatabase, load
from rules.patterns import Expression
from rules.prefilter import Medium
from rules.squeezed import Squeezed, Squeezer

VERSION = hyperscan.__version__  # type: ignore[attr-defined]
ENGINE = f"hyperscan-{VERSION}/{platform.system()}-{platform.machine()}"
"""What a serialised database depends on besides its patterns; the CPU's features are checked when it is loaded."""

PADDING = b"\n" + bytes(15) + b"\x80" + bytes(31) + b"\x80" + bytes(15)
"""What stands behind a whole text: the end of its line, for `$` and `\\b`, and room for vectors. The two bytes that are
neither keep it from being a long run of separators, which would have every pattern looked for in the whole text."""
TRIED_PIECE_BYTES = len(BEFORE) + 1
"""Samples are tried in two pieces, the first of which ends within the sample."""
MAX_ENDS = 512
"""Places of one pattern that are kept; of a pattern with more, any place may be one."""


Places = dict[int, list[int]]
"""By pattern number: where occurrences end."""


class WordHits(NamedTuple):
    """What was found in a squeezed text, or a part of one that begins at `base` of the whole."""

    base: int
    squeezed: Squeezed
    ends: Places


class Hits(dict[int, int]):
    """Pattern number to the byte offset at which its first occurrence ends."""

    __slots__ = ("ends", "words")

    def __init__(self) -> None:
        super().__init__()
        self.ends: Places = {}
        """For sparse patterns of whole texts, all such offsets, or the first `MAX_ENDS`; of those in the squeezed form of a
        single text only one."""
        self.words: list[WordHits] = []
        """The same for those that were found in squeezed text, of whose places `ends` holds the earliest that may be."""


class EngineError(Exception):
    """The engine could not do its work; the caller must treat the message as not inspected."""


def _compile(wanted: Sequence[Expression], mode: int) -> bytes:
    database = hyperscan.Database(mode=mode)
    try:
        database.compile(
            expressions=[one.source for one in wanted],
            ids=list(range(len(wanted))),
            flags=[one.flags for one in wanted],
        )
        return hyperscan.dumpb(database)
    except hyperscan.error as error:
        raise EngineError(f"Hyperscan cannot compile {len(wanted)} patterns: {error}") from None


Note = Callable[[int, int, int, int, Any], None]
Search = tuple[Callable[[bytes, Note, int, Places, Any], Any], Note, Any]
"""Scans with one part: the binding's function, the callback, and the scratch of one thread. Its arguments are given by
place, because names cost as much as a short scan."""


def _noting_first(numbers: Sequence[int]) -> Note:
    """A match callback. A pattern may report several times, in any order; the earliest end is kept."""

    def note(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
        number = numbers[pattern]
        if end < hits.get(number, end + 1):
            hits[number] = end

    return note


def _noting_places(numbers: Sequence[int]) -> Note:
    """The match callback for whole texts, which keeps every place."""

    def note(pattern: int, start: int, end: int, flags: int, places: Any) -> None:
        number = numbers[pattern]
        ends = places.get(number)
        if ends is None:
            places[number] = [end]
        elif len(ends) < MAX_ENDS:
            ends.append(end)
        elif end < ends[0]:
            ends[0] = end

    return note


def _load(serialised: memoryview, mode: int) -> LoadedDatabase:
    try:
        return load(serialised, mode)
    except hyperscan.error as error:
        raise EngineError(f"the pattern database does not fit this machine: {type(error).__name__}") from None


class BlockPart:
    """One loaded part for whole texts; several databases may share it."""

    def __init__(self, part: Part) -> None:
        self._loaded = _load(part.data, hyperscan.HS_MODE_BLOCK)
        self.database = self._loaded.database
        self.medium = part.medium
        self.note = _noting_places(part.numbers)


class BlockDatabase:
    """A loaded database for whole texts. Safe to share between threads."""

    def __init__(self, parts: Sequence[BlockPart]) -> None:
        self._parts = parts
        self._local = threading.local()

    def _searches(self, medium: Medium) -> list[Search]:
        """How the calling thread looks for the patterns that are looked for there."""
        return [
            (part.database.scan, part.note, hyperscan.Scratch(part.database))
            for part in self._parts
            if part.medium is medium
        ]

    def scan(self, data: bytes, starts: Sequence[int] = (0,)) -> Hits:
        """Which patterns occur in UTF-8 `data`; some places may end a little behind it.

        `starts` are where its texts begin, when it holds several: each place is in the text in which the match ends.
        """
        hits = Hits()
        try:
            searches: list[list[Search]] = self._local.searches
        except AttributeError:
            searches = self._local.searches = [*map(self._searches, (Medium.BYTES, Medium.FOREIGN, Medium.WORDS))]
        padded = data + PADDING
        in_bytes, in_foreign, in_words = searches
        places: Places = {}
        squeezed: Squeezed | None = None
        try:
            for search, note, scratch in in_bytes:
                search(padded, note, 0, hits.ends, scratch)
            if not data.isascii():
                for search, note, scratch in in_foreign:
                    search(padded, note, 0, hits.ends, scratch)
            if in_words:
                squeezed = Squeezed(data, starts)
                words = squeezed.data + PADDING
                for search, note, scratch in in_words:
                    search(words, note, 0, places, scratch)
        except hyperscan.error as error:
            raise EngineError(f"scan failed: {type(error).__name__}") from None
        if squeezed is not None and places:
            hits.words.append(WordHits(0, squeezed, places))
            for number, ends in places.items():
                # Of one text only the first is asked for; the others are looked up where they are.
                its = ends if len(starts) > 1 else (min(ends),)
                hits.ends.setdefault(number, []).extend(map(squeezed.place, its))
        for number, ends in hits.ends.items():
            hits[number] = min(ends)
        return hits


def compile_block(wanted: Sequence[Expression]) -> Compiled:
    """A part for whole texts."""
    data = _compile(wanted, hyperscan.HS_MODE_BLOCK)
    database = BlockDatabase([BlockPart(Part(tuple(range(len(wanted))), memoryview(data)))])
    return Compiled(data, overlooked(wanted, database.scan))


def compile_stream(wanted: Sequence[Expression]) -> Compiled:
    """A part for texts that arrive in pieces."""
    data = _compile(wanted, hyperscan.HS_MODE_STREAM)
    database = StreamDatabase([StreamPart(Part(tuple(range(len(wanted))), memoryview(data)))])

    def scan(text: bytes) -> Hits:
        stream = database.open_stream()
        for piece in (text[:TRIED_PIECE_BYTES], text[TRIED_PIECE_BYTES:]):
            stream.feed(piece)
        stream.close()
        return stream.hits

    return Compiled(data, overlooked(wanted, scan))


class StreamDatabase:
    """A loaded database for texts that arrive in pieces. Safe to share between threads."""

    def __init__(self, parts: Sequence[StreamPart]) -> None:
        self._parts = parts

    def open_stream(self) -> Stream:
        """A new stream over the same patterns."""
        return Stream(self._parts)


class StreamPart:
    """One loaded part for texts in pieces; several databases may share it."""

    def __init__(self, part: Part) -> None:
        self._loaded = _load(part.data, hyperscan.HS_MODE_STREAM)
        self.database, self.close_lock = self._loaded.database, self._loaded.close_lock
        self.medium = part.medium
        self.note = _noting_first(part.numbers)
        self._local = threading.local()

    def scratch(self) -> hyperscan.Scratch:
        """The calling thread's scratch for streams."""
        try:
            return self._local.scratch  # type: ignore[no-any-return]
        except AttributeError:
            self._local.scratch = hyperscan.Scratch(self.database)
            return self._local.scratch  # type: ignore[no-any-return]


class Stream:
    """One text in pieces. Not for two threads at the same time; may move from one thread to another."""

    def __init__(self, parts: Sequence[StreamPart]) -> None:
        self.hits = Hits()
        """Every pattern seen so far; the end is an offset in the whole stream, or in its squeezed form."""
        self._squeezer = Squeezer() if any(part.medium is Medium.WORDS for part in parts) else None
        self._open: list[tuple[StreamPart, Any]] = []
        self._closed = False
        try:
            for part in parts:
                stream = part.database.stream(match_event_handler=part.note, context=self.hits)
                stream.__enter__()
                self._open.append((part, stream))
        except hyperscan.error as error:
            raise EngineError(f"stream not opened: {type(error).__name__}") from None

    def feed(self, data: bytes) -> None:
        """The next UTF-8 bytes; new patterns appear in `hits`."""
        if self._closed:
            raise EngineError("the stream is closed")
        words = self._squeezer.feed(data) if self._squeezer else b""
        try:
            for part, stream in self._open:
                piece = words if part.medium is Medium.WORDS else data
                stream.scan(piece, scratch=part.scratch(), match_event_handler=part.note, context=self.hits)
        except hyperscan.error as error:
            raise EngineError(f"stream scan failed: {type(error).__name__}") from None

    def close(self) -> None:
        """End of the text; patterns that match only there appear in `hits`. Further calls do nothing."""
        self._closed = True
        while self._open:
            # It stays in the list meanwhile: compiled code lets go of a variable after its last use, and with it of the
            # database that the stream only borrows.
            part, stream = self._open[-1]
            try:
                with part.close_lock:
                    stream.close(match_event_handler=part.note, context=self.hits)
            except hyperscan.error as error:
                raise EngineError(f"stream not closed: {type(error).__name__}") from None
            finally:
                self._open.pop()

    def __del__(self) -> None:
        if getattr(self, "_open", None):
            self.close()
