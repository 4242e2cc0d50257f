"""Clients hear when something was approved or withdrawn: `list_changed`, on streams that are open (T-08)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from proxies.contract import EntryKind, MCPControl
from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.control.passing import visible

NOTICES: Final[dict[EntryKind, str]] = {
    "tool": "notifications/tools/list_changed",
    "prompt": "notifications/prompts/list_changed",
    "template": "notifications/resources/list_changed",
}


class Listener(Protocol):
    """An open stream to a client."""

    key_id: str
    """Of the API key whose view counts."""

    def tell(self, method: str) -> None:
        """Send this notification, if the client wants it there. Never waits."""


def tell(
    listeners: Iterable[Listener], catalogue: Catalogue, before: MCPControl | None, after: MCPControl | None
) -> None:
    """Tell those who see something else than before; what the server declares has not been listed yet changes nothing."""
    by_key: dict[str, list[Listener]] = {}
    for listener in tuple(listeners):
        by_key.setdefault(listener.key_id, []).append(listener)
    for key_id, concerned in by_key.items():
        for kind, method in NOTICES.items():
            listing = catalogue.listing(kind)
            if listing is not None and visible(before, listing, key_id) != visible(after, listing, key_id):
                for listener in concerned:
                    listener.tell(method)
