"""Which of the five kinds in the charts a call is."""

from __future__ import annotations

from proxies.contract import CallRecord
from rules.model import Action


def verdict_of(record: CallRecord) -> str:
    """One of `models.VERDICTS`. A client that hung up counts as what policy had said until then."""
    if record.outcome in ("blocked", "refused"):
        return record.outcome
    if record.outcome in ("upstream_error", "failed"):
        return "error"
    return "alerted" if record.action >= Action.ALERT else "allowed"


def is_failed(record: CallRecord) -> bool:
    """Whether the client got no usable answer, for the documented `failed_requests` (inventory b.1)."""
    return record.status >= 400 or record.outcome in ("blocked", "refused", "upstream_error", "failed")
