"""The alert for a server that falls back from the modern to the legacy era (E-04)."""

from __future__ import annotations

from typing import Final

from proxies.exchange import Exchange
from proxies.mcp.alerts import alerting_finding, raise_alert

DOWNGRADE_RULE: Final = "MCP-ERA-001"
_DOWNGRADE: Final = alerting_finding(
    DOWNGRADE_RULE,
    "The server fell back from the modern to a legacy protocol version",
    category="mcp/downgrade",
    evidence="server/discover is not answered any more as the modern era prescribes",
)


def note_downgrade(exchange: Exchange) -> None:
    """Raise the alert with this call, if the server has fallen back since anybody asked. Legacy versions do not bind the
    header fields to the message (E-04)."""
    eras = exchange.proxy.eras
    if eras is None or not eras.take_downgrade():
        return
    raise_alert(exchange, _DOWNGRADE)
