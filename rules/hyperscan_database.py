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
from typing import Any

import hyperscan
import msgspec

from rules.patterns import PatternKey, expression, hyperscan_flags

VERSION = hyperscan.__version__  # type: ignore[attr-defined]
ENGINE = f"hyperscan-{VERSION}/{platform.system()}-{platform.machine()}"
"""What a serialised database depends on besides its patterns; the CPU's features are checked when it is loaded."""

PADDING = b"\n" + bytes(15) + b"\x80" + bytes(31) + b"\x80" + bytes(15)
"""What stands behind a whole text: the end of its line, for `$` and `\\b`, and room for vectors. The two bytes that are
neither keep it from being a long run of separators, which would have every pattern looked for in the whole text."""
MAX_ENDS = 512
"""Places of one pattern that are kept; of a pattern with more, any place may be one."""


class Hits(dict[int, int]):
    """Pattern number to the byte offset at which its first occurrence ends."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[int, list[int]] = {}
        """For sparse patterns of whole texts, all such offsets, or the first `MAX_ENDS`."""


class EngineError(Exception):
    """The engine could not do its work; the caller must treat the message as not inspected."""


class Part(msgspec.Struct, frozen=True):
    """Some of the patterns of a database, compiled together. The data says nothing of the numbers, so that whoever looks
    for the same patterns can use it again."""

    numbers: tuple[int, ...]
    """By position of a pattern in the data, the number under which it is reported."""
    data: bytes


def compile_block(keys: Sequence[PatternKey]) -> bytes:
    """The data of a part for whole texts."""
    return _compile(keys, hyperscan.HS_MODE_BLOCK)


def compile_stream(keys: Sequence[PatternKey]) -> bytes:
    """The data of a part for texts that arrive in pieces."""
    return _compile(keys, hyperscan.HS_MODE_STREAM)


def _compile(keys: Sequence[PatternKey], mode: int) -> bytes:
    database = hyperscan.Database(mode=mode)
    try:
        database.compile(
            expressions=[expression(key) for key in keys],
            ids=list(range(len(keys))),
            flags=[hyperscan_flags(key, every=mode == hyperscan.HS_MODE_BLOCK) for key in keys],
        )
        return hyperscan.dumpb(database)
    except hyperscan.error as error:
        raise EngineError(f"Hyperscan cannot compile {len(keys)} patterns: {error}") from None


Note = Callable[[int, int, int, int, Any], None]


def _noting_first(numbers: Sequence[int]) -> Note:
    """A match callback. A pattern may report several times, in any order; the earliest end is kept."""

    def note(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
        number = numbers[pattern]
        if end < hits.get(number, end + 1):
            hits[number] = end

    return note


def _noting_places(numbers: Sequence[int]) -> Note:
    """The match callback for whole texts, which keeps every place."""

    def note(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
        number = numbers[pattern]
        if end < hits.get(number, end + 1):
            hits[number] = end
        ends = hits.ends.setdefault(number, [])
        if len(ends) < MAX_ENDS:
            ends.append(end)

    return note


def _load(serialised: bytes, mode: int) -> hyperscan.Database:
    try:
        return hyperscan.loadb(serialised, mode)
    except hyperscan.error as error:
        raise EngineError(f"the pattern database does not fit this machine: {type(error).__name__}") from None


class BlockDatabase:
    """A loaded database for whole texts. Safe to share between threads."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [(_load(part.data, hyperscan.HS_MODE_BLOCK), _noting_places(part.numbers)) for part in parts]
        self._local = threading.local()

    def scan(self, data: bytes) -> Hits:
        """Which patterns occur in UTF-8 `data`; some places may end a little behind it."""
        hits = Hits()
        try:
            scratches = self._local.scratches
        except AttributeError:
            scratches = self._local.scratches = [hyperscan.Scratch(database) for database, _ in self._parts]
        padded = data + PADDING
        try:
            for (database, note), scratch in zip(self._parts, scratches, strict=True):
                database.scan(padded, match_event_handler=note, context=hits, scratch=scratch)
        except hyperscan.error as error:
            raise EngineError(f"scan failed: {type(error).__name__}") from None
        return hits


class StreamDatabase:
    """A loaded database for texts that arrive in pieces. Safe to share between threads."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [_StreamPart(part) for part in parts]

    def open_stream(self) -> Stream:
        """A new stream over the same patterns."""
        return Stream(self._parts)


class _StreamPart:
    """One part of a stream database."""

    def __init__(self, part: Part) -> None:
        self.database = _load(part.data, hyperscan.HS_MODE_STREAM)
        self.database.scratch = hyperscan.Scratch(self.database)
        self.note = _noting_first(part.numbers)
        self.close_lock = threading.Lock()
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

    def __init__(self, parts: Sequence[_StreamPart]) -> None:
        self.hits = Hits()
        """Every pattern seen so far; the end is an offset in the whole stream."""
        self._open: list[tuple[_StreamPart, Any]] = []
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
        try:
            for part, stream in self._open:
                stream.scan(data, scratch=part.scratch(), match_event_handler=part.note, context=self.hits)
        except hyperscan.error as error:
            raise EngineError(f"stream scan failed: {type(error).__name__}") from None

    def close(self) -> None:
        """End of the text; patterns that match only there appear in `hits`. Further calls do nothing."""
        self._closed = True
        while self._open:
            part, stream = self._open.pop()
            try:
                with part.close_lock:
                    stream.close(match_event_handler=part.note, context=self.hits)
            except hyperscan.error as error:
                raise EngineError(f"stream not closed: {type(error).__name__}") from None

    def __del__(self) -> None:
        if getattr(self, "_open", None):
            self.close()
