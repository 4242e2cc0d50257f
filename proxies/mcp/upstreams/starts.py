"""When a server that does not come up is tried again, and what is known to be wrong with it. Pure.

Each principal waits for its own failures only: what one client sends may make a server fail, and must not keep the others
from theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

FIRST_DELAY_SECONDS: Final = 1.0
MAX_DELAY_SECONDS: Final = 60.0
MAX_PRINCIPALS: Final = 1_000


class _Failures(msgspec.Struct, frozen=True):
    count: int
    next_at: float


class StartsByPrincipal:
    """The attempts to reach one server: after each failure in a row the next one waits twice as long (P-03)."""

    def __init__(self) -> None:
        self.problem = ""
        """Why the last attempt failed; empty after one that succeeded."""
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_seconds(self, principal_id: str, now: float) -> float:
        """How long no further attempt is made for this principal."""
        failures = self._failures.get(principal_id)
        return max(0.0, failures.next_at - now) if failures else 0.0

    def failed(self, principal_id: str, problem: str, now: float) -> None:
        """Note a server that did not come up."""
        self.problem = problem
        before = self._failures.pop(principal_id, None)
        count = min(before.count if before else 0, 16)
        delay_seconds = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**count)
        self._failures[principal_id] = _Failures(count + 1, now + delay_seconds)
        if len(self._failures) > MAX_PRINCIPALS:
            self._failures.popitem(last=False)

    def succeeded(self, principal_id: str) -> None:
        """Note a server that has answered."""
        self.problem = ""
        self._failures.pop(principal_id, None)
