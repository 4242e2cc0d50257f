"""One at a time: what is judged or decided about a server is never done twice at once."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each proxy, for as long as somebody holds or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Turns {len(self._locks)}>"

    def of(self, proxy_id: str) -> asyncio.Lock:
        """The lock of a proxy."""
        lock = self._locks.get(proxy_id)
        if lock is None:
            lock = self._locks[proxy_id] = asyncio.Lock()
        return lock
