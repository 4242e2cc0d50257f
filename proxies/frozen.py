"""The base of records that are kept unchanged.

mypyc drops the keywords of a class statement, but options of a `msgspec.Struct` are inherited: what a compiled module
defines on this base is frozen there too. The base itself must not be compiled.
"""

from __future__ import annotations

import msgspec


class Frozen(msgspec.Struct, frozen=True):
    """A record of which no member changes; equal members make equal records, and it may be a key."""
