"""The documented shape of every JSON answer of the API."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_OFFSET = 1_000_000


class Envelope(msgspec.Struct, Generic[T]):
    """A successful answer."""

    data: T
    message: str = ""
    success: bool = True


class Listing(msgspec.Struct, Generic[T]):
    """One page of a list; `total` counts all that match."""

    items: list[T]
    total: int
    limit: int
    offset: int


def part_of(items: Sequence[T], limit: int, offset: int) -> Listing[T]:
    """One page of a list that is in memory."""
    return Listing(list(items[offset : offset + limit]), len(items), limit, offset)


def page_of(limit: int, offset: int) -> tuple[int, int]:
    """What a list asks for, held within bounds."""
    return min(max(limit, 1), MAX_LIMIT), min(max(offset, 0), MAX_OFFSET)


class Failure(msgspec.Struct, kw_only=True):
    """A failed answer: the envelope's own members, and beside them those of RFC 9457 for clients that know it."""

    error: str
    error_code: str
    remediation: str
    request_id: str
    fields: dict[str, str] = {}
    success: bool = False
    type: str = "about:blank"
    title: str
    status: int
    detail: str
