"""The words of this feature and what follows from them: states, statuses, risk. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal

from rules.model import Severity
from rules.pinning.capabilities import Capability

Kind = Literal["server", "tool", "prompt", "resource", "template"]
KINDS: Final[tuple[Kind, ...]] = ("server", "tool", "prompt", "resource", "template")
LISTED: Final[tuple[Kind, ...]] = ("tool", "prompt", "template", "resource")
"""The kinds that a server lists, in the order in which people look at them."""
QUARANTINE_FROM: Final = Severity.HIGH
"""From here on a change takes the entry out until somebody decides, unless the proxy says from a milder one on."""


class State(StrEnum):
    """Where an entry stands (T-01)."""

    PENDING = "pending"
    """New; nobody has approved it."""
    APPROVED = "approved"
    DISABLED = "disabled"
    """Taken out by a person."""
    CHANGED = "changed"
    """What is served now is not what was approved."""
    MISSING = "missing"
    """The server no longer declares it."""


class Status(StrEnum):
    """Where a change stands."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVERTED = "reverted"
    TOLERATED = "tolerated"
    """Not bad enough to need a decision."""
    WITHDRAWN = "withdrawn"
    """The server went back to what was approved before anybody decided."""
    SUPERSEDED = "superseded"
    """The server changed it again before anybody decided."""


class Risk(StrEnum):
    """How much damage a tool can do, by what it says it does."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


HOLDING_CODES: Final = frozenset({"origin_changed", "authentication_removed", "server_identity_changed"})
"""While such a change of the server itself is open, nothing of the server passes."""

_HIGH: Final = frozenset({Capability.EXECUTE, Capability.DELETE, Capability.PAYMENT})
_MEDIUM: Final = frozenset(
    {Capability.WRITE_FILES, Capability.SEND, Capability.NETWORK, Capability.CREDENTIALS, Capability.DATABASE}
)


def state_of(
    *,
    approved_hash: str,
    tolerated: Iterable[str],
    current_hash: str,
    is_disabled: bool,
    is_missing: bool,
    is_blocked: bool,
) -> State:
    """The state that these facts make."""
    if is_missing:
        return State.MISSING
    if is_disabled:
        return State.DISABLED
    if not approved_hash:
        return State.PENDING
    if is_blocked or (current_hash != approved_hash and current_hash not in tolerated):
        return State.CHANGED
    return State.APPROVED


def risk_of(capabilities: Iterable[str]) -> Risk:
    """The risk class of a tool with these capability classes."""
    given = set(capabilities)
    if given & _HIGH:
        return Risk.HIGH
    if given & _MEDIUM:
        return Risk.MEDIUM
    return Risk.LOW if given else Risk.NONE
