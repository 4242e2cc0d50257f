"""Compiled patterns in memory, where they take megabytes: once, however many rulesets use them.

Not compiled to machine code, whose objects cannot be referred to weakly.
"""

from __future__ import annotations

import hashlib
import threading
from weakref import WeakValueDictionary

import hyperscan


class LoadedDatabase:
    """What was compiled as one part. Safe to share between threads."""

    def __init__(self, serialised: memoryview, mode: int) -> None:
        self.database = hyperscan.loadb(bytes(serialised), mode)
        if mode == hyperscan.HS_MODE_STREAM:
            self.database.scratch = hyperscan.Scratch(self.database)
        self.close_lock = threading.Lock()
        """For that scratch, which only the closing of streams uses."""


_in_use: WeakValueDictionary[tuple[bytes, int], LoadedDatabase] = WeakValueDictionary()
"""By SHA-256 of the bytes, and mode."""


def load(serialised: memoryview, mode: int) -> LoadedDatabase:
    """The patterns in these bytes, which most policies share; raises `hyperscan.error`."""
    key = hashlib.sha256(serialised).digest(), mode
    found = _in_use.get(key)
    if found is None:
        # Two threads at the same time make one that nobody shares, which does no harm.
        found = _in_use[key] = LoadedDatabase(serialised, mode)
    return found
