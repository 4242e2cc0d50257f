"""Databases of a few patterns, as the compiler makes them of many."""

from __future__ import annotations

from collections.abc import Sequence

from rules.database_parts import Part
from rules.hyperscan_database import (
    BlockDatabase,
    BlockPart,
    StreamDatabase,
    StreamPart,
    compile_block,
    compile_stream,
)
from rules.patterns import Expression, PatternKey, expressions
from rules.prefilter import Medium


def of_keys(keys: Sequence[PatternKey], *, every: bool = True) -> list[Expression]:
    """Their forms over the bytes of a text."""
    return [one for key in keys for one in expressions(key, every=every) if one.medium is not Medium.WORDS]


def _parts(keys: Sequence[PatternKey], numbers: Sequence[int], *, every: bool) -> list[tuple[Part, list[Expression]]]:
    parts: list[tuple[Part, list[Expression]]] = []
    for medium in Medium:
        found = [
            (number, one)
            for number, key in zip(numbers, keys, strict=True)
            for one in expressions(key, every=every)
            if one.medium is medium
        ]
        if found:
            wanted = [one for _, one in found]
            data = (compile_block(wanted) if every else compile_stream(wanted)).data
            parts.append((Part(tuple(number for number, _ in found), memoryview(data), medium), wanted))
    return parts


def whole_texts(keys: Sequence[PatternKey]) -> BlockDatabase:
    """A database for whole texts; the numbers are the positions."""
    return BlockDatabase([BlockPart(part) for part, _ in _parts(keys, range(len(keys)), every=True)])


def in_pieces(keys: Sequence[PatternKey]) -> StreamDatabase:
    """The same for texts that arrive in pieces."""
    return StreamDatabase([StreamPart(part) for part, _ in _parts(keys, range(len(keys)), every=False)])


def block_part(keys: Sequence[PatternKey], numbers: Sequence[int]) -> BlockPart:
    """One part, of patterns that are looked for in one medium."""
    ((part, _),) = _parts(keys, numbers, every=True)
    return BlockPart(part)


def stream_part(keys: Sequence[PatternKey], numbers: Sequence[int]) -> StreamPart:
    """The same for texts that arrive in pieces."""
    ((part, _),) = _parts(keys, numbers, every=False)
    return StreamPart(part)
