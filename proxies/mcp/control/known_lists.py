"""Most lists are the list before: what was read, judged and inspected once is not read, judged and inspected again.

The bytes of a page stand for the page, and a finished answer for every caller who sees the same of the same list under the
same rules. What was found in it is judged for each caller, since that also depends on what else was found in a session;
nothing is kept in which something was masked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from proxies.mcp.control.declarations import Listing
from proxies.mcp.messages import Message, MessageId
from rules.model import Finding, Text

MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
MAX_ANSWERS: Final = 32


class _Envelope(msgspec.Struct):
    id: int | str
    result: msgspec.Raw


class _Page(NamedTuple):
    raw: bytes
    result: dict[str, Any]


class KnownPage:
    """The newest first page of one list. Large pages are read in threads: what is known changes in one assignment."""

    __slots__ = ("_listing", "_page")

    def __init__(self) -> None:
        self._page = _Page(b"", {})
        self._listing: tuple[dict[str, Any], Listing] | None = None

    def recall(self, data: bytes, id: MessageId) -> Message | None:
        """The message in these bytes, if it holds the page that is known. What it holds must not be changed."""
        raw = _raw_result(data, id)
        known = self._page
        return Message(kind="response", id=id, result=known.result) if raw and raw == known.raw else None

    def keep(self, data: bytes, message: Message) -> None:
        """These bytes were read, strictly, as this message."""
        raw = b"" if message.result is None or message.id is None else _raw_result(data, message.id)
        if 0 < len(raw) <= MAX_PAGE_BYTES:
            self._page = _Page(raw, message.result or {})

    def listing_of(self, result: dict[str, Any]) -> Listing | None:
        """The list that was made of this very page and of nothing else."""
        return self._listing[1] if self._listing is not None and self._listing[0] is result else None

    def keep_listing(self, result: dict[str, Any], listing: Listing) -> None:
        """This list was made of a page that is the whole of it."""
        self._listing = (result, listing) if result is self._page.result else None


def _raw_result(data: bytes, id: MessageId) -> bytes:
    try:
        envelope = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return b""
    return bytes(envelope.result) if (type(envelope.id), envelope.id) == (type(id), id) else b""


_decoder = msgspec.json.Decoder(_Envelope)


class KnownFindings(NamedTuple):
    """What the rules find in a list, whoever asks for it."""

    found: Sequence[Finding] = ()
    """As it came from the rules, before any policy."""
    declarations: Mapping[str, str] = MappingProxyType({})
    """The declarations in which it stands, by place (`Finding.declaration`)."""


class FinishedList(NamedTuple):
    """A result as it is sent."""

    result: msgspec.Raw
    texts: list[Text]
    """What was inspected, for the record."""
    note: str
    """What the record says about it."""
    judges: tuple[object, ...]
    """What the key names by identity: it must live as long as the key."""
    findings: KnownFindings = KnownFindings()


class FinishedLists:
    """Those of one server. Bounded; the least recently used go first."""

    def __init__(self, max_answers: int = MAX_ANSWERS) -> None:
        self._max_answers = max_answers
        self._lists: OrderedDict[Hashable, FinishedList] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lists)

    def find(self, key: Hashable) -> FinishedList | None:
        """The finished answer under this key."""
        found = self._lists.get(key)
        if found is not None:
            self._lists.move_to_end(key)
        return found

    def keep(self, key: Hashable, finished: FinishedList) -> None:
        """Keep an answer in which nothing was masked."""
        self._lists[key] = finished
        if len(self._lists) > self._max_answers:
            self._lists.popitem(last=False)

    def clear(self) -> None:
        """Another snapshot is in force."""
        self._lists.clear()
