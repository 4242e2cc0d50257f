"""What earlier calls of a conversation held that the provider remembers (Responses API): it supports a block of a later call.

Where a client sends the whole conversation with every call, its messages are judged together anyway. Here only the new
message comes, so the findings are kept in the memory of this worker, for the same caller, as long as they count.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

from proxies.conversation import WINDOW_SECONDS, RecentFindings
from proxies.exchange import Exchange
from rules.model import Action

MAX_CONVERSATIONS: Final = 10_000
"""The oldest go first."""

Key = tuple[str, str, str]
"""Proxy, principal, id of a response or conversation."""


class KeptFindings:
    """Findings by the response or conversation that a call may continue. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[float, RecentFindings]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<KeptFindings {len(self._kept)}>"

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, recent: RecentFindings) -> None:
        """Keep what a conversation has held up to now."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (time.monotonic() + WINDOW_SECONDS, recent)
            while len(self._kept) > MAX_CONVERSATIONS:
                self._kept.popitem(last=False)

    def find(self, key: Key) -> RecentFindings | None:
        """What the conversation held, while it counts."""
        now = time.monotonic()
        with self._lock:
            while self._kept and self._kept[next(iter(self._kept))][0] <= now:
                self._kept.popitem(last=False)
            kept = self._kept.get(key)
            return kept[1] if kept else None


KEPT_FINDINGS: Final = KeptFindings()


def held_up_to_now(exchange: Exchange) -> RecentFindings | None:
    """The findings of the calls before this one and of this one; None where nothing alerts."""
    found = [finding for finding in exchange.found if finding.action >= Action.ALERT]
    if not found:
        return exchange.earlier
    recent = exchange.earlier.copy() if exchange.earlier is not None else RecentFindings()
    recent.add(found, time.monotonic())
    return recent
