"""Frames of `application/vnd.amazon.eventstream`, read and written on bytes (LLM-BDR-2). Sans-I/O.

A frame is `u32 total | u32 headers | u32 crc of these | headers | payload | u32 crc of all before`, big-endian. A header is
`u8 length, name, u8 type, value`; a string has type 7 and a u16 length. The checksums are held against the bytes before
anything is made of them, and whatever two readers could take for different things is refused.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

import msgspec

PRELUDE_BYTES: Final = 12
CHECKSUM_BYTES: Final = 4
MAX_HEADERS_BYTES: Final = 128 * 1024
_STRING: Final = 7
_FIXED_BYTES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of the values of header types that have one: true, false, integers, a time, a UUID."""
_COUNTED: Final = frozenset({6, _STRING})
"""Types whose value has its length before it: bytes and strings."""


class FrameRefused(Exception):
    """The bytes are no frames that every reader understands alike, or a frame is too large; the message says which."""


class Frame(msgspec.Struct, gc=False):
    """One frame with its string headers; headers of other types have no meaning here and are dropped."""

    headers: dict[str, str]
    payload: bytes


class FrameParser:
    """Feed bytes as they come; get the frames that became complete. `max_frame_bytes` bounds one of them."""

    __slots__ = ("_held", "_max_frame_bytes", "_wanted_bytes")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._held = bytearray()
        self._wanted_bytes = PRELUDE_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`; raises FrameRefused."""
        held = self._held
        held += data
        frames: list[Frame] = []
        start = 0
        while len(held) - start >= self._wanted_bytes:
            if self._wanted_bytes == PRELUDE_BYTES:
                self._wanted_bytes = self._frame_bytes(held, start)
                continue
            end = start + self._wanted_bytes
            frames.append(_frame(bytes(held[start:end])))
            start = end
            self._wanted_bytes = PRELUDE_BYTES
        if start:
            del held[:start]
        return frames

    def close(self) -> None:
        """The stream has ended; raises FrameRefused for a frame that is cut off."""
        if self._held:
            raise FrameRefused("the last frame is cut off")

    def _frame_bytes(self, held: bytearray, start: int) -> int:
        """The length of the frame whose prelude stands here."""
        total, headers, checksum = struct.unpack_from("!III", held, start)
        if crc32(held[start : start + 8]) != checksum:
            raise FrameRefused("the checksum of a prelude is wrong")
        if total > self._max_frame_bytes or headers > MAX_HEADERS_BYTES:
            raise FrameRefused(f"a frame is larger than {self._max_frame_bytes} bytes")
        if total < PRELUDE_BYTES + headers + CHECKSUM_BYTES:
            raise FrameRefused("a frame is shorter than its headers")
        return int(total)


def encode_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """A frame with string headers. Raises ValueError for a name or value that has no place in one."""
    fields = bytearray()
    for name, value in headers.items():
        raw_name, raw_value = name.encode(), value.encode()
        if not 0 < len(raw_name) < 256 or len(raw_value) > 32_767:
            raise ValueError(f"the header {name[:40]!r} does not fit into a frame")
        fields += struct.pack("!B", len(raw_name)) + raw_name + struct.pack("!BH", _STRING, len(raw_value)) + raw_value
    prelude = struct.pack("!II", PRELUDE_BYTES + len(fields) + len(payload) + CHECKSUM_BYTES, len(fields))
    frame = prelude + struct.pack("!I", crc32(prelude)) + fields + payload
    return frame + struct.pack("!I", crc32(frame))


def _frame(raw: bytes) -> Frame:
    body, checksum = raw[:-CHECKSUM_BYTES], int.from_bytes(raw[-CHECKSUM_BYTES:])
    if crc32(body) != checksum:
        raise FrameRefused("the checksum of a frame is wrong")
    headers_end = PRELUDE_BYTES + int.from_bytes(raw[4:8])
    return Frame(_headers(body[PRELUDE_BYTES:headers_end]), body[headers_end:])


def _headers(raw: bytes) -> dict[str, str]:
    names: set[str] = set()
    headers: dict[str, str] = {}
    place = 0
    try:
        while place < len(raw):
            name, place = _taken(raw, place + 1, raw[place])
            kind = raw[place]
            size, place = (
                (int.from_bytes(_exactly(raw, place + 1, 2)), place + 3)
                if kind in _COUNTED
                else (_FIXED_BYTES[kind], place + 1)
            )
            value, place = _exactly(raw, place, size), place + size
            if not name or name in names:
                raise FrameRefused("a header has no name, or one that came before")
            names.add(name)
            if kind == _STRING:
                headers[name] = value.decode()
    except (IndexError, KeyError, UnicodeDecodeError):
        raise FrameRefused("the headers of a frame are malformed") from None
    return headers


def _taken(raw: bytes, place: int, size: int) -> tuple[str, int]:
    return _exactly(raw, place, size).decode(), place + size


def _exactly(raw: bytes, place: int, size: int) -> bytes:
    """So many bytes from here; raises IndexError where there are fewer."""
    if place + size > len(raw):
        raise IndexError(place)
    return raw[place : place + size]
