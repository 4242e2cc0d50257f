"""What lists accept in their query strings, checked once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from app.errors import ValidationFailed

MAX_SEARCH_CHARACTERS = 200
MAX_DIGITS = 9


def words(field: str, given: Sequence[str] | None, allowed: Collection[str]) -> tuple[str, ...]:
    """The words of a repeatable or comma-separated parameter; raises ValidationFailed for a word that is not allowed."""
    found = tuple(word for item in given or () for word in item.split(",") if word)
    unknown = [word for word in found if word not in allowed]
    if unknown or len(found) > len(allowed):
        raise ValidationFailed(fields={field: f"Use one or more of {', '.join(allowed)}."})
    return found


def search_text(given: str) -> str:
    """A search text within bounds, and without NUL, at which SQLite would end the pattern."""
    return given.strip()[:MAX_SEARCH_CHARACTERS].replace("\x00", "\ufffd")


def number(text: str) -> int:
    """A number in the address of a page; what is none means the beginning."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else 0


def contains(text: str, *searched: str) -> bool:
    """Whether a text of a list in memory is what `search` looks for."""
    return text.lower() in "\n".join(searched).lower()


def moment(field: str, given: datetime | None) -> datetime | None:
    """A time as UTC; one without offset is taken as UTC. Raises ValidationFailed outside the calendar."""
    if given is None:
        return None
    try:
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except OverflowError:
        raise ValidationFailed(fields={field: "This time is outside the calendar."}) from None
