"""The live stream of the pages: events from the bus as HTML for htmx (`GET /events`, Server-Sent Events).

A page opens one stream and says what it shows (`?show=alerts&status=open`). Each message holds `<hx-partial>` elements
that name their target, so an element that a page does not have is simply not there. Events are taken in batches: a
busy proxy costs one message in `BATCH_SECONDS`, not one a call. Named events (`beat`, `resync`) are for app.js.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from litestar import Request

from app.http.events import HEARTBEAT_SECONDS, RECHECK_SECONDS, RESYNC, BusEvent, EventBus, Subscription
from app.http.page import Badges, Pages
from app.security.permissions import Actor

BATCH_SECONDS = 0.2
BATCH_EVENTS = 256
BADGE_TOPICS = frozenset({"alert", "proxy", "tools"})
BEAT = b"event: beat\ndata: \n\n"
RESYNC_MESSAGE = b"event: resync\ndata: \n\n"


class Viewer(Protocol):
    """What a page shows, told apart by `show`: turns a batch of events into partials."""

    def __call__(self, request: Request[Any, Any, Any], pages: Pages, events: Sequence[BusEvent]) -> list[str]: ...


class View:
    """One page's interest: the topics that it listens to and how it draws them."""

    def __init__(self, topics: frozenset[str], draw: Callable[[Mapping[str, str]], Viewer]) -> None:
        self.topics = topics | BADGE_TOPICS
        self.draw = draw


def partial(target: str, swap: str, html: str) -> str:
    """Markup that makes htmx put `html` at `target`."""
    return f'<hx-partial hx-target="{target}" hx-swap="{swap}">{html}</hx-partial>'


def message(html: str, event_id: str) -> bytes:
    """An unnamed SSE message, which htmx swaps in. The id lets a reconnecting page say what it has seen."""
    identity = f"id: {event_id}\n" if event_id else ""
    body = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"{identity}{body}\n".encode()


async def batches(subscription: Subscription) -> AsyncIterator[list[BusEvent]]:
    """What arrived within a moment of each other; an empty batch when it is quiet for a while."""
    while not subscription.closed:
        first = await subscription.next(RECHECK_SECONDS)
        if first is None:
            yield []
            continue
        batch = [first]
        await asyncio.sleep(BATCH_SECONDS)
        while len(batch) < BATCH_EVENTS and (event := await subscription.next(0)) is not None:
            batch.append(event)
        yield batch


async def stream(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    bus: EventBus,
    subscription: Subscription,
    viewer: Viewer,
    is_still_allowed: Callable[[], Awaitable[bool]],
    count_badges: Callable[[Actor], Awaitable[Badges]],
) -> AsyncIterator[bytes]:
    """The bytes of one page's stream: it ends with the session, and beats while there is nothing to say."""
    loop = asyncio.get_running_loop()
    checked = beaten = loop.time()
    try:
        yield BEAT
        async for batch in batches(subscription):
            now = loop.time()
            if now - checked >= RECHECK_SECONDS:
                checked = now
                if not await is_still_allowed():
                    return
            if any(event.topic == RESYNC for event in batch):
                yield RESYNC_MESSAGE
            events = [event for event in batch if event.topic != RESYNC]
            parts = viewer(request, pages, events) if events else []
            if any(event.topic in BADGE_TOPICS for event in events):
                parts += badge_parts(request, pages, await count_badges(actor))
            if parts:
                beaten = now
                yield message("".join(parts), events[-1].id)
            elif now - beaten >= HEARTBEAT_SECONDS:
                beaten = now
                yield BEAT
    finally:
        bus.unsubscribe(subscription)


def badge_parts(request: Request[Any, Any, Any], pages: Pages, badges: Badges) -> list[str]:
    """The counts in the rail, drawn again."""
    return [
        partial(f"#badge-{name}", "outerHTML", pages.fragment(request, f"_badge_{name}.html", badges=badges))
        for name in ("alerts", "proxies", "approvals")
    ]
