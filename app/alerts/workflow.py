"""The life of an alert, as pure data: which action leads from which status to which.

open ──acknowledge──► acknowledged
  │ └───────┬────────────┘ │
  │    resolve / false_positive
  │         ▼
  └◄─reopen─ resolved, false_positive (and acknowledged)
"""

from __future__ import annotations

from enum import StrEnum


class AlertStatus(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    """Nobody has looked at it yet."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody has taken it on."""
    RESOLVED = "resolved"
    """A true hit that is dealt with."""
    FALSE_POSITIVE = "false_positive"
    """A harmless text that the rule should not have hit."""


class AlertAction(StrEnum):
    """What an operator does to an alert."""

    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    FALSE_POSITIVE = "false_positive"
    REOPEN = "reopen"


_MOVES: dict[AlertAction, tuple[frozenset[AlertStatus], AlertStatus]] = {
    AlertAction.ACKNOWLEDGE: (frozenset({AlertStatus.OPEN}), AlertStatus.ACKNOWLEDGED),
    AlertAction.RESOLVE: (frozenset({AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED}), AlertStatus.RESOLVED),
    AlertAction.FALSE_POSITIVE: (frozenset({AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED}), AlertStatus.FALSE_POSITIVE),
    AlertAction.REOPEN: (
        frozenset({AlertStatus.ACKNOWLEDGED, AlertStatus.RESOLVED, AlertStatus.FALSE_POSITIVE}),
        AlertStatus.OPEN,
    ),
}


def next_status(current: AlertStatus, action: AlertAction) -> AlertStatus | None:
    """The status after the action; None when the action does not apply to the current status."""
    sources, target = _MOVES[action]
    return target if current in sources else None
