"""Tells the pages that something about a server has changed (topic `tools`)."""

from __future__ import annotations

from collections.abc import Sequence

from app.http.events import EventBus
from app.tools.models import MCPChange

MAX_CHANGES = 50


def publish(bus: EventBus, proxy_id: str, *, changes: Sequence[MCPChange] = (), held_call: str = "") -> None:
    """Publish; whoever listens asks for what it shows."""
    bus.publish(
        "tools",
        {
            "id": proxy_id,
            "proxy_id": proxy_id,
            "changes": [
                {"id": one.id, "kind": one.kind, "name": one.name[:200], "code": one.code, "severity": one.severity}
                for one in changes[:MAX_CHANGES]
            ],
            "held_call": held_call,
        },
    )
