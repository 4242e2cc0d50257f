"""What a server says about itself when a client connects: instructions that nobody approved are taken out (T-07), and one that
calls itself otherwise than before is looked at anew before the client hears anything of it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxies.contract import JUDGEMENT_SECONDS
from proxies.exchange import Exchange
from proxies.mcp.control.lister import META_SERVER
from proxies.mcp.control.passing import accepts_instructions
from proxies.mcp.control.server import ControlledServer, Identity, identity_of

WITHHELD: Final = "The instructions of the server are not approved and were left out."


async def without_unapproved(exchange: Exchange, result: dict[str, Any]) -> dict[str, Any]:
    """The result of initialize or server/discover as it may pass. The first one has the server listed."""
    server = exchange.proxy.controlled
    if server is None or server.control is None:
        return result
    identity = identity_in(result)
    if server.note_identity(identity):
        await _judged(server)
        exchange.lap("judgement", waiting=True)
        server.note_other_identity(identity)
    instructions = result.get("instructions")
    if instructions is None:
        server.connected()
        return result
    if not _accepts(server, instructions):
        await _judged(server)
        exchange.lap("judgement", waiting=True)
    if _accepts(server, instructions):
        return result
    if not exchange.reason:
        exchange.reason = WITHHELD
    server.note_instructions(instructions)
    return {key: value for key, value in result.items() if key != "instructions"}


def identity_in(result: dict[str, Any]) -> Identity | None:
    """Name and version in the answer to initialize or server/discover; None for a server that does not say."""
    meta = result.get("_meta")
    return identity_of(result.get("serverInfo") or (meta.get(META_SERVER) if type(meta) is dict else None))


def _accepts(server: ControlledServer, instructions: Any) -> bool:
    return server.control is None or accepts_instructions(server.control, instructions)


async def _judged(server: ControlledServer) -> None:
    """Wait a moment for the server to be listed and judged; it goes on by itself where that takes longer."""
    try:
        async with asyncio.timeout(JUDGEMENT_SECONDS):
            await server.introduced()
    except TimeoutError:
        return
