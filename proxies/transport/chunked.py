"""The chunked transfer coding, decoded strictly (RFC 9112 §7.1). Sans-I/O; requirements HTTP-04..06.

llhttp can decode it too, but it does not say where in its input a message ended, and it is lenient about extensions
and trailers; the guard needs the first and cannot allow the second.
"""

from __future__ import annotations

import re

from proxies.transport.headers import FIELD_VALUE, TOKEN

_MAX_SIZE_LINE_BYTES = 256
_MAX_TRAILER_BYTES = 8 * 1024
_MAX_TRAILER_FIELDS = 32

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:;%b++(?:=(?:%b++|%b))?)*+\r\n" % (TOKEN, TOKEN, _QUOTED))
_TINY_SIZE_LINES = {b"%x\r\n" % size: size for size in range(1, 16)}
_PARTIAL_SIZE_LINE = re.compile(rb"(?:[0-9A-Fa-f]{1,15}+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?")
_TRAILERS = re.compile(rb"(?:%b++:%b*+\r\n)++" % (TOKEN, FIELD_VALUE))
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")


class ChunkedError(Exception):
    """The coding is malformed or wasteful; the message says how."""


class ChunkedOverhead(ChunkedError):
    """The framing takes far more bytes than the content that it carries."""


class ChunkedDecoder:
    """Feed received bytes, get the content. When `complete`, `rest` holds what followed the message.

    `max_overhead_bytes` bounds the framing bytes beyond five for each byte of content (None for no such bound). Five is
    what a chunk of one byte needs, so content in whatever chunks arrives whole, but extensions cannot carry more than
    it does. Trailer fields are checked, bounded and dropped.
    """

    __slots__ = (
        "_after_data",
        "_content_bytes",
        "_in_trailers",
        "_max_overhead",
        "_overhead",
        "_pending",
        "_remaining",
        "complete",
        "rest",
    )

    def __init__(self, *, max_overhead_bytes: int | None = None) -> None:
        self.complete = False
        self.rest = b""
        self._remaining = 0
        self._after_data = False
        self._in_trailers = False
        self._pending = b""
        self._overhead = 0
        self._content_bytes = 0
        self._max_overhead = max_overhead_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of content in `data`. Raises ChunkedError."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        pieces: list[bytes] = []
        position = 0
        end = len(data)
        while position < end and not self.complete:
            if self._remaining:
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._content_bytes += len(piece)
                self._remaining -= len(piece)
                self._after_data = not self._remaining
                continue
            if self._in_trailers:
                consumed = self._trailers(data, position)
            elif self._after_data:
                consumed = self._data_end(data, position)
            else:
                position = self._whole_chunks(data, position, pieces)
                consumed = self._size_line(data, position)
            if not consumed:
                self._pending = data[position:]
                return pieces
            position += consumed
            self._count(consumed)
        if self.complete:
            self.rest = data[position:]
        return pieces

    def _count(self, consumed: int) -> None:
        self._overhead += consumed
        if self._max_overhead is not None and self._overhead > self._max_overhead + 5 * self._content_bytes:
            raise ChunkedOverhead("the framing is far larger than the content")

    def _whole_chunks(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Take the chunks that lie in `data` as a whole; gives the position behind them. Whatever else is there, the
        last chunk and a fault included, is for the step by step reading of `feed`. A million chunks of one byte pass
        through this loop (HTTP-05): it keeps no state between them."""
        begun_at, content = position, 0
        while True:
            if size := _TINY_SIZE_LINES.get(data[position : position + 3]):
                begin = position + 3
            elif match := _SIZE_LINE.match(data, position, position + _MAX_SIZE_LINE_BYTES):
                size, begin = int(match[1], 16), match.end()
            else:
                break
            stop = begin + size
            if not size or data[stop : stop + 2] != b"\r\n":
                break
            pieces.append(data[begin:stop])
            content += stop - begin
            position = stop + 2
        if content:
            self._content_bytes += content
            self._count(position - begun_at - content)
        return position

    def _size_line(self, data: bytes, position: int) -> int:
        """Bytes of the chunk-size line, 0 when it is not complete."""
        match = _SIZE_LINE.match(data, position, position + _MAX_SIZE_LINE_BYTES)
        if match is None:
            tail = data[position : position + _MAX_SIZE_LINE_BYTES]
            if len(tail) >= _MAX_SIZE_LINE_BYTES or not _PARTIAL_SIZE_LINE.fullmatch(tail):
                raise ChunkedError("a chunk size line is malformed")
            return 0
        self._remaining = int(match[1], 16)
        self._in_trailers = not self._remaining
        return match.end() - position

    def _data_end(self, data: bytes, position: int) -> int:
        ending = data[position : position + 2]
        if ending == b"\r":
            return 0
        if ending != b"\r\n":
            raise ChunkedError("a chunk does not end where its size says")
        self._after_data = False
        return 2

    def _trailers(self, data: bytes, position: int) -> int:
        """Bytes of the whole trailer section with its empty line, 0 when it is not complete."""
        if data.startswith(b"\r\n", position):
            self.complete = True
            return 2
        end = data.find(b"\r\n\r\n", position, position + _MAX_TRAILER_BYTES)
        if end < 0:
            if len(data) - position >= _MAX_TRAILER_BYTES:
                raise ChunkedError("the trailer section is too large")
            if _BARE_LINE_END.search(data, position):
                raise ChunkedError("a trailer field is malformed")
            return 0
        block = data[position : end + 2]
        if not _TRAILERS.fullmatch(block):
            raise ChunkedError("a trailer field is malformed")
        if block.count(b"\n") > _MAX_TRAILER_FIELDS:
            raise ChunkedError("too many trailer fields")
        self.complete = True
        return end + 4 - position
