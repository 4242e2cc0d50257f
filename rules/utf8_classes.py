"""Sets of characters outside ASCII as patterns over their UTF-8 bytes, in every case of their letters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

MAX_SEQUENCES = 24
"""A set that needs more alternatives is not worth it."""
_SIZES = ((0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
"""Characters whose UTF-8 has the same length; surrogates have none."""


def byte_sequences(ranges: Iterable[tuple[int, int]]) -> tuple[bytes, ...] | None:
    """Byte patterns of which one matches exactly the characters in `ranges` and their other cases.

    None when that takes more than `MAX_SEQUENCES`.
    """
    return _byte_sequences(tuple(ranges))


@lru_cache(maxsize=4_096)
def _byte_sequences(ranges: tuple[tuple[int, int], ...]) -> tuple[bytes, ...] | None:
    found: list[bytes] = []
    for low, high in _merged(_with_cases(ranges)):
        for first, last in _SIZES:
            if max(low, first) <= min(high, last):
                found += _split(chr(max(low, first)).encode(), chr(min(high, last)).encode())
        if len(found) > MAX_SEQUENCES:
            return None
    return tuple(found) or None


def _split(low: bytes, high: bytes) -> list[bytes]:
    """Patterns for the byte strings of one length from `low` to `high`, which are UTF-8 of the same length."""
    if low == high:
        return [b"".join(map(_byte, low))]
    if len(low) == 1:
        return [_bytes(low[0], high[0])]
    rest = len(low) - 1
    if low[0] == high[0]:
        return [_byte(low[0]) + tail for tail in _split(low[1:], high[1:])]
    first, last = b"\x80" * rest, b"\xbf" * rest
    found: list[bytes] = []
    start, end = low[0], high[0]
    if low[1:] != first:
        found += (_byte(start) + tail for tail in _split(low[1:], last))
        start += 1
    if high[1:] != last:
        end -= 1
    if start <= end:
        found.append(_bytes(start, end) + b"".join([_bytes(0x80, 0xBF)] * rest))
    if high[1:] != last:
        found += (_byte(high[0]) + tail for tail in _split(first, high[1:]))
    return found


def _byte(value: int) -> bytes:
    return b"\\x%02x" % value


def _bytes(low: int, high: int) -> bytes:
    return _byte(low) if low == high else b"[" + _byte(low) + b"-" + _byte(high) + b"]"


def _with_cases(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    cases = _cases()
    for low, high in ranges:
        yield low, high
        codes = range(low, high + 1) if high - low < len(cases) else [code for code in cases if low <= code <= high]
        for code in codes:
            yield from ((other, other) for other in cases.get(code, ()))


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


@cache
def _cases() -> dict[int, tuple[int, ...]]:
    """By character outside ASCII that has another case: the characters that it may stand for when case is ignored."""
    orbits: dict[str, set[int]] = {}
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x1F000)):
        char = chr(code)
        if char.lower() != char or char.upper() != char or char.title() != char:
            for key in {char.casefold(), char.lower(), char.upper().lower()}:
                orbits.setdefault(key, set()).add(code)
                if len(key) == 1 and ord(key) >= 0x80:
                    orbits[key].add(ord(key))
    cases: dict[int, set[int]] = {}
    for orbit in orbits.values():
        for code in orbit:
            cases.setdefault(code, set()).update(orbit - {code})
    return {code: tuple(sorted(others)) for code, others in cases.items() if others}
