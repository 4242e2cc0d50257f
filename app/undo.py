"""Taking back what was deleted, revoked or decided: for ten seconds, and whole.

Deleting takes effect at once, but the row stays and says when it was deleted; revoking says so anyhow. A decision about
declarations changes many rows, so how they were is kept beside it (`tools/undos.py`). Until the time is over it can be
had back; after that nothing brings it back, and `jobs/deletions.py` removes the rows for good.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app import clock
from app.errors import NotFound

UNDO_SECONDS = 10
"""How long a page offers *Undo*."""
UNDO_WORDS = f"You can undo this for {UNDO_SECONDS} seconds."
TRAVEL_SECONDS = 5
"""A page takes time to come and a click to arrive: what is still offered must not be refused."""
WINDOW = timedelta(seconds=UNDO_SECONDS + TRAVEL_SECONDS)


class NothingToRestore(NotFound):
    """Never there, or gone for good."""

    code = "nothing_to_restore"
    default_message = "There is nothing to restore."
    default_remediation = f"What was deleted or revoked can be restored for {UNDO_SECONDS} seconds. Make it anew."


def is_open(at: datetime | None) -> bool:
    """Whether what happened at that moment can still be taken back."""
    return at is not None and at > over_before()


def over_before() -> datetime:
    """What happened before this moment stays as it is."""
    return clock.utcnow() - WINDOW
