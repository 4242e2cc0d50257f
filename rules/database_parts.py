"""What the databases of a ruleset are made of, as it is kept on disk.

These records are read back by their types, which a compiled module would not keep, so they have a module of their own.
"""

from __future__ import annotations

import msgspec

from rules.prefilter import Medium


class Part(msgspec.Struct, frozen=True):
    """Some of the patterns of a database, compiled together. The data says nothing of the numbers, so that whoever looks
    for the same patterns can use it again."""

    numbers: tuple[int, ...]
    """By position of an expression in the data, the number of its pattern."""
    data: memoryview
    medium: Medium = Medium.BYTES


class Compiled(msgspec.Struct, frozen=True):
    """Some forms of patterns, compiled together."""

    data: bytes
    overlooked: tuple[int, ...]
    """The positions of those that the engine does not find everywhere, see `form_samples`."""
