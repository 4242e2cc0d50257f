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
from collections.abc import Sequence
from typing import Any

import hyperscan

from rules.patterns import PatternKey, expression, hyperscan_flags

VERSION = hyperscan.__version__  # type: ignore[attr-defined]
ENGINE = f"hyperscan-{VERSION}/{platform.system()}-{platform.machine()}"
"""What a serialised database depends on besides its patterns; the CPU's features are checked when it is loaded."""

PADDING = b"\n" + bytes(63)
"""What stands behind a whole text: the end of its line, for `$` and `\\b`, and room for vectors."""
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


def compile_block(keys: Sequence[PatternKey], numbers: Sequence[int] | None = None) -> bytes:
    """A serialised database for whole texts; the number of a pattern is its position where none is given."""
    return _compile(keys, numbers, hyperscan.HS_MODE_BLOCK)


def compile_stream(keys: Sequence[PatternKey], numbers: Sequence[int] | None = None) -> bytes:
    """A serialised database for texts that arrive in pieces, numbered in the same way."""
    return _compile(keys, numbers, hyperscan.HS_MODE_STREAM)


def _compile(keys: Sequence[PatternKey], numbers: Sequence[int] | None, mode: int) -> bytes:
    database = hyperscan.Database(mode=mode)
    try:
        database.compile(
            expressions=[expression(key) for key in keys],
            ids=list(range(len(keys)) if numbers is None else numbers),
            flags=[hyperscan_flags(key, every=mode == hyperscan.HS_MODE_BLOCK) for key in keys],
        )
        return hyperscan.dumpb(database)
    except hyperscan.error as error:
        raise EngineError(f"Hyperscan cannot compile {len(keys)} patterns: {error}") from None


def _note_hit(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
    """The match callback. A pattern may report several times, in any order; the earliest end is kept."""
    if end < hits.get(pattern, end + 1):
        hits[pattern] = end


def _note_place(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
    """The match callback for whole texts, which keeps every place."""
    if end < hits.get(pattern, end + 1):
        hits[pattern] = end
    ends = hits.ends.setdefault(pattern, [])
    if len(ends) < MAX_ENDS:
        ends.append(end)


def _load(serialised: bytes, mode: int) -> hyperscan.Database:
    try:
        return hyperscan.loadb(serialised, mode)
    except hyperscan.error as error:
        raise EngineError(f"the pattern database does not fit this machine: {type(error).__name__}") from None


class BlockDatabase:
    """A loaded database for whole texts. Safe to share between threads."""

    def __init__(self, serialised: bytes) -> None:
        self._database = _load(serialised, hyperscan.HS_MODE_BLOCK)
        self._local = threading.local()

    def scan(self, data: bytes) -> Hits:
        """Which patterns occur in UTF-8 `data`; some places may end a little behind it."""
        hits = Hits()
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        try:
            self._database.scan(data + PADDING, match_event_handler=_note_place, context=hits, scratch=scratch)
        except hyperscan.error as error:
            raise EngineError(f"scan failed: {type(error).__name__}") from None
        return hits


class StreamDatabase:
    """A loaded database for texts that arrive in pieces. Safe to share between threads."""

    def __init__(self, serialised: bytes) -> None:
        self._database = _load(serialised, hyperscan.HS_MODE_STREAM)
        self._database.scratch = hyperscan.Scratch(self._database)
        self._local = threading.local()
        self.close_lock = threading.Lock()

    def open_stream(self) -> Stream:
        """A new stream over the same patterns."""
        return Stream(self, self._database)

    def stream_scratch(self) -> hyperscan.Scratch:
        """The calling thread's scratch for streams."""
        try:
            return self._local.scratch  # type: ignore[no-any-return]
        except AttributeError:
            self._local.scratch = hyperscan.Scratch(self._database)
            return self._local.scratch  # type: ignore[no-any-return]


class Stream:
    """One text in pieces. Not for two threads at the same time; may move from one thread to another."""

    def __init__(self, owner: StreamDatabase, database: hyperscan.Database) -> None:
        self._owner = owner
        self._database = database
        self._callback = _note_hit
        self.hits = Hits()
        """Every pattern seen so far; the end is an offset in the whole stream."""
        self._open = False
        try:
            self._stream = database.stream(match_event_handler=self._callback, context=self.hits)
            self._stream.__enter__()
        except hyperscan.error as error:
            raise EngineError(f"stream not opened: {type(error).__name__}") from None
        self._open = True

    def feed(self, data: bytes) -> None:
        """The next UTF-8 bytes; new patterns appear in `hits`."""
        if not self._open:
            raise EngineError("the stream is closed")
        try:
            self._stream.scan(
                data, scratch=self._owner.stream_scratch(), match_event_handler=self._callback, context=self.hits
            )
        except hyperscan.error as error:
            raise EngineError(f"stream scan failed: {type(error).__name__}") from None

    def close(self) -> None:
        """End of the text; patterns that match only there appear in `hits`. Further calls do nothing."""
        if not self._open:
            return
        self._open = False
        try:
            with self._owner.close_lock:
                self._stream.close(match_event_handler=self._callback, context=self.hits)
        except hyperscan.error as error:
            raise EngineError(f"stream not closed: {type(error).__name__}") from None

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.close()
