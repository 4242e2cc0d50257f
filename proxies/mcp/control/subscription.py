"""The gateway's own subscription at a modern server: it hears of changes without any client (L-08, M-14)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, METHOD_HEADER, MODERN_VERSIONS, VERSION_HEADER
from proxies.mcp.messages import Message
from proxies.mcp.methods import LISTEN_FILTERS
from proxies.mcp.upstream import is_stream, message_in, own_headers, send_to
from proxies.mcp.upstream_events import stream_events
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError, UpstreamIdleTimeout

if TYPE_CHECKING:
    from proxies.mcp.control.server import ControlledServer

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
SHORT_SECONDS: Final = 10.0
"""A subscription that ends so soon is followed by a longer pause than the one before."""
MAX_DOUBLINGS: Final = 9
MAX_PAUSE_SECONDS: Final = 300.0
METHOD: Final = "subscriptions/listen"

_ids = itertools.count(1)


async def subscribe(controlled: ControlledServer, notices: frozenset[str]) -> None:
    """Listen for these notifications as long as the tools of the server are controlled."""
    short = 0
    while controlled.control is not None and controlled.runtime is not None:
        began_at = time.monotonic()
        try:
            if not await _listen(controlled, notices):
                return
        except UpstreamIdleTimeout:
            # Silence is what a server without changes has to say.
            continue
        except (UpstreamError, Refusal) as error:
            logger.debug("an own subscription failed: %s", type(error).__name__)
        # Whatever was said meanwhile was not heard.
        for method in notices:
            controlled.catalogue.note_change(method)
        short = min(short + 1, MAX_DOUBLINGS) if time.monotonic() - began_at < SHORT_SECONDS else 0
        await asyncio.sleep(min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**short))


async def _listen(controlled: ControlledServer, notices: frozenset[str]) -> bool:
    """One subscription, to its end; False where the server offers none."""
    runtime = controlled.runtime
    assert runtime is not None  # `subscribe` asked.
    wanted: dict[str, Any] = {LISTEN_FILTERS[method]: True for method in notices}
    meta = {META_VERSION: MODERN_VERSIONS[-1], META_CAPABILITIES: {}}
    request = Message(
        kind="request", id=f"ostiary-{next(_ids)}", method=METHOD, params={"notifications": wanted, "_meta": meta}
    )
    headers = [*own_headers(runtime), (VERSION_HEADER, MODERN_VERSIONS[-1]), (METHOD_HEADER, METHOD)]
    response = await send_to(runtime, "POST", headers, dump(request.body()), endless=True)
    try:
        if response.status in (400, 404, 405) or (response.status == 200 and not is_stream(response)):
            return False
        if response.status != 200:
            raise UpstreamError(f"The upstream answered with HTTP {response.status}.")
        async for event in stream_events(response):
            if event.data:
                message = (await message_in(event.data)).message
                if message.kind == "notification":
                    controlled.note_change(message.method)
                elif message.kind == "response":
                    return message.error is None
        return True
    finally:
        response.close()
