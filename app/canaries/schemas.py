"""What the API and the pages say about canaries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Ids = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=200)]


class CanaryView(msgspec.Struct, frozen=True, kw_only=True):
    """One canary without its value. `rule_id` is the rule under which its sightings are reported."""

    id: str
    name: str
    note: str
    rule_id: str
    action: str
    direction: str
    proxy_ids: list[str]
    key_ids: list[str]
    sightings: int
    """Alerts that it has raised and that are still kept."""
    last_seen_at: datetime | None
    created_at: datetime
    created_by: str


class RevealedCanary(msgspec.Struct, frozen=True, kw_only=True):
    """A canary with the text to plant."""

    value: str
    canary: CanaryView

    def __repr__(self) -> str:
        return f"<RevealedCanary {self.canary.id}>"


class CreateCanary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new canary. Without `value` one is made; without proxies and keys it is at home nowhere."""

    name: Annotated[str, Meta(max_length=200)]
    value: Annotated[str, Meta(max_length=1000)] | None = None
    note: Annotated[str, Meta(max_length=2000)] = ""
    action: Literal["alert", "block"] = "alert"
    direction: Literal["both", "request", "response"] = "both"
    proxy_ids: Ids = []
    key_ids: Ids = []
