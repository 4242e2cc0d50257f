"""The facts that every call has, whatever its protocol: who, from where, with which headers, when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from proxies.exchange import Exchange
from rules.facts import Facts


def complete(exchange: Exchange, **specific: Any) -> Facts:
    """The facts of a call: the protocol's own and the common ones."""
    headers = exchange.request.headers
    wanted = exchange.protection.policies.header_names
    return Facts(
        client_id=exchange.principal.id,
        client_name=exchange.principal.name if exchange.principal.id else "",
        ip=exchange.request.peer_ip,
        headers={name: ", ".join(headers.getall(name)) for name in wanted if name in headers},
        now=datetime.fromtimestamp(exchange.started_at, UTC),
        **specific,
    )
