"""The newest lists of one server, and whether they are still what the server declares (T-04)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxies.contract import EntryKind
from proxies.mcp.control.declarations import Declaration, Listing
from proxies.mcp.param_headers import InvalidAnnotation, ParamHeader

MAX_LEARNED_TOOLS: Final = 10_000

CHANGE_NOTICES: Final[dict[str, tuple[EntryKind, ...]]] = {
    "notifications/tools/list_changed": ("tool",),
    "notifications/prompts/list_changed": ("prompt",),
    "notifications/resources/list_changed": ("resource", "template"),
}
"""Which lists a server calls out of date."""


class Catalogue:
    """What one server declared last, as this worker saw it."""

    def __init__(self, max_learned_tools: int = MAX_LEARNED_TOOLS) -> None:
        self._lists: dict[EntryKind, Listing] = {}
        self._changes = 0
        """Counts the server's notices; a list that was asked for before the newest one of its kind is stale."""
        self._changed_at: dict[EntryKind, int] = {}
        self._listed_at: dict[EntryKind, int] = {}
        self._max_learned_tools = max_learned_tools
        self._learned: OrderedDict[str, tuple[ParamHeader, ...]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Catalogue {', '.join(f'{kind}={len(one.entries)}' for kind, one in self._lists.items())}>"

    # --- Lists ----------------------------------------------------------------------------------------------------

    @property
    def moment(self) -> int:
        """To be noted before a list is asked for and given to `keep` with it."""
        return self._changes

    def keep(self, listing: Listing, moment: int) -> None:
        """A list that was asked for at that moment; an older one does not replace a newer one."""
        if moment >= self._listed_at.get(listing.kind, -1):
            self._lists[listing.kind] = listing
            self._listed_at[listing.kind] = moment

    def listing(self, kind: EntryKind) -> Listing | None:
        """The newest list of a kind, or None before the first."""
        return self._lists.get(kind)

    def find(self, kind: EntryKind, name: str) -> Declaration | None:
        """The current declaration of that name."""
        listing = self._lists.get(kind)
        return None if listing is None else listing.entries.get(name)

    def changed_at(self, kind: EntryKind) -> int:
        """The moment at which the server last called this list out of date."""
        return self._changed_at.get(kind, 0)

    def was_listed(self, kind: EntryKind, moment: int) -> bool:
        """Whether the list is one that was asked for at that moment or later."""
        return self._listed_at.get(kind, -1) >= moment

    def note_change(self, method: str) -> bool:
        """A notification of the server; True when it makes a list stale."""
        kinds = CHANGE_NOTICES.get(method)
        if kinds is None:
            return False
        self._changes += 1
        for kind in kinds:
            self._changed_at[kind] = self._changes
        return True

    def forget(self) -> None:
        """It is another server from now on."""
        self._lists.clear()
        self._listed_at.clear()
        self._learned.clear()

    # --- Header annotations (M-03..M-06) --------------------------------------------------------------------------

    def learn(self, tool: str, wanted: tuple[ParamHeader, ...]) -> None:
        """Keep the annotations of a tool from a page of a list that nobody controls. Bounded; those that were least
        recently listed go first, and a tool without annotations needs no place."""
        self._learned.pop(tool, None)
        if not wanted:
            return
        self._learned[tool] = wanted
        if len(self._learned) > self._max_learned_tools:
            self._learned.popitem(last=False)

    def wanted_headers(self, tool: str) -> tuple[ParamHeader, ...]:
        """The arguments that a call repeats in its headers; none for a tool that was not listed."""
        declaration = self.find("tool", tool)
        if declaration is None:
            return self._learned.get(tool, ())
        try:
            return declaration.headers
        except InvalidAnnotation:
            return ()
