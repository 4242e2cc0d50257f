"""All pages of a list, before any of it is released (T-06). Bounded in pages, entries, bytes and by repeated cursors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

from proxies import off_loop
from proxies.contract import MAX_OBSERVED_ENTRIES
from proxies.mcp.control.declarations import Listing, ListKind
from proxies.mcp.messages import Message
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.upstream import Received

MAX_PAGES: Final = 200
MAX_LIST_BYTES: Final = 16 * 1024 * 1024

Fetch = Callable[[str | None], Awaitable[Received]]
"""The response to the request for the page after a cursor; raises `Refusal` or `UpstreamError`."""


class Gathered(NamedTuple):
    """A whole list."""

    first: Message
    """The response with the first page; an error where the server has no such list."""
    entries: list[Any]
    complete: bool
    problems: list[str]
    size_bytes: int
    """Of all answers that were read for it."""

    async def listing(self, list_kind: ListKind, before: Listing | None) -> Listing:
        """The list, with the hashes of its entries; `before` is the one that it follows."""
        read = partial(
            Listing.read,
            list_kind.kind,
            self.entries,
            before=before,
            complete=self.complete,
            problems=self.problems,
        )
        return await off_loop.sized(self.size_bytes, read)


async def gather(list_kind: ListKind, fetch: Fetch) -> Gathered:
    """Read a list to its end, or to a bound; raises `Refusal` or `UpstreamError`."""
    entries: list[Any] = []
    cursors: set[str] = set()
    cursor: str | None = None
    first: Message | None = None
    size_bytes = 0
    while True:
        answer, answer_bytes = await fetch(cursor)
        size_bytes += answer_bytes
        first = first or answer
        if answer.error is not None:
            if first is answer:
                return Gathered(answer, [], True, [], size_bytes)
            problem = f"A page of {list_kind.method} is an error; the rest is not offered."
            return Gathered(first, entries, False, [problem], size_bytes)
        result = answer.result or {}
        page = result.get(list_kind.member)
        if type(page) is not list:
            raise upstream_invalid(f"The upstream's answer to {list_kind.method} is malformed.")
        entries += page
        cursor = result.get("nextCursor")
        if cursor is None:
            return Gathered(first, entries[:MAX_OBSERVED_ENTRIES], *_judged(list_kind, len(entries)), size_bytes)
        if type(cursor) is not str:
            raise upstream_invalid(f"The upstream's answer to {list_kind.method} is malformed.")
        problem = _overrun(list_kind, len(entries), size_bytes, len(cursors))
        if cursor in cursors:
            problem = f"The pages of {list_kind.method} go in a circle."
        if problem:
            return Gathered(first, entries[:MAX_OBSERVED_ENTRIES], False, [problem], size_bytes)
        cursors.add(cursor)


def _judged(list_kind: ListKind, count: int) -> tuple[bool, list[str]]:
    if count <= MAX_OBSERVED_ENTRIES:
        return True, []
    return False, [_too_many(list_kind)]


def _overrun(list_kind: ListKind, count: int, size_bytes: int, pages: int) -> str:
    if count > MAX_OBSERVED_ENTRIES:
        return _too_many(list_kind)
    if pages + 1 >= MAX_PAGES:
        return f"{list_kind.method} has more than {MAX_PAGES} pages; the rest is not offered."
    if size_bytes > MAX_LIST_BYTES:
        return f"{list_kind.method} is larger than {MAX_LIST_BYTES} bytes; the rest is not offered."
    return ""


def _too_many(list_kind: ListKind) -> str:
    return f"{list_kind.method} has more than {MAX_OBSERVED_ENTRIES} entries; the rest is not offered."
