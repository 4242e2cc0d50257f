"""What the provider knows the client's events by: names of the gateway, so that nothing of the client's own goes upstream."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

MAX_ALIASES: Final = 200
"""Events that a provider can still name in an error; the oldest are forgotten."""
MAX_NAME_CHARACTERS: Final = 512


class Aliases:
    """The names of the latest events, by the gateway's name for them."""

    def __init__(self) -> None:
        self._count = 0
        self._names: OrderedDict[str, str] = OrderedDict()

    def give(self, event: dict[str, Any]) -> str:
        """Rename an event; returns what the client called it, or an empty string."""
        name = event.get("event_id")
        own = name if type(name) is str and len(name) <= MAX_NAME_CHARACTERS else ""
        self._count += 1
        alias = f"event_gateway_{self._count}"
        event["event_id"] = alias
        self._names[alias] = own
        if len(self._names) > MAX_ALIASES:
            self._names.popitem(last=False)
        return own

    def restore(self, event: dict[str, Any]) -> str:
        """Put the client's name into an error of the provider's; returns the gateway's name for the event it is about."""
        error = event.get("error")
        if type(error) is not dict or type(alias := error.get("event_id")) is not str:
            return ""
        error["event_id"] = self._names.get(alias) or None
        return alias
