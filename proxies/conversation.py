"""What was found in the recent messages of a session: signals that support, and never make, a block."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from rules.model import Action, Finding

MAX_FINDINGS: Final = 50
WINDOW_SECONDS: Final = 600.0


class RecentFindings:
    """The alerting findings of the last messages of one session, at most `MAX_FINDINGS` of the last ten minutes.

    Messages of one session may be judged in several threads: each step here is a single one to the interpreter.
    """

    __slots__ = ("_findings",)

    def __init__(self) -> None:
        self._findings: deque[tuple[float, Finding]] = deque(maxlen=MAX_FINDINGS)

    def add(self, findings: Iterable[Finding], now: float) -> None:
        """Remember what was found in a message; `now` is a monotonic time in seconds."""
        self._findings.extend([(now, finding) for finding in findings if finding.action >= Action.ALERT])

    @property
    def count(self) -> int:
        """How many are remembered, those included that no longer count."""
        return len(self._findings)

    def copy(self) -> RecentFindings:
        """The same findings, to go on from."""
        other = RecentFindings()
        other._findings.extend(tuple(self._findings))
        return other

    def since(self, now: float) -> list[Finding]:
        """What still counts."""
        return [finding for then, finding in tuple(self._findings) if then >= now - WINDOW_SECONDS]
