"""The event bus inside the console, and its stream to browsers and scripts (`GET /api/v1/events`, Server-Sent Events).

Publishing never waits. Every subscriber has a bounded queue; when it is full the oldest event goes and the subscriber
gets a `resync` event, as does one whose Last-Event-ID is no longer remembered: it then reloads instead of showing a
list with holes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import datetime
from typing import Any

import msgspec

from app.clock import utcnow
from app.errors import Unavailable

logger = logging.getLogger(__name__)

TOPICS = frozenset({"proxy", "call", "alert", "stats", "tools"})
RESYNC = "resync"
QUEUE_EVENTS = 256
RING_EVENTS = 1000
MAX_SUBSCRIBERS = 256
HEARTBEAT_SECONDS = 15.0
RECHECK_SECONDS = 3.0
"""A stream outlives its session by at most this long; ADM-09 asks for five seconds."""
HEARTBEAT = b": heartbeat\n\n"


class BusEvent(msgspec.Struct, frozen=True):
    """Something that happened. `id` is `<boot>-<number>`: it grows within one run of the console."""

    id: str
    topic: str
    data: dict[str, Any]
    at: datetime


class Subscription:
    """One subscriber's bounded queue; iterate over it, leave it with `EventBus.unsubscribe`."""

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self.dropped = 0
        self._queue: deque[BusEvent] = deque()
        self._wake = asyncio.Event()
        self._lost = False
        self.closed = False

    def __repr__(self) -> str:
        return f"<Subscription {sorted(self.topics)} queued={len(self._queue)} dropped={self.dropped}>"

    def offer(self, event: BusEvent) -> None:
        """Queue an event; the oldest makes room."""
        if len(self._queue) >= QUEUE_EVENTS:
            self._queue.popleft()
            self.dropped += 1
            self._lost = True
        self._queue.append(event)
        self._wake.set()

    def mark_lost(self) -> None:
        """Make the next event a `resync`."""
        self._lost = True
        self._wake.set()

    def close(self) -> None:
        """End the iteration after what is queued."""
        self.closed = True
        self._wake.set()

    async def next(self, timeout_seconds: float) -> BusEvent | None:
        """The next event, or None after the timeout or the end."""
        if not self._queue and not self._lost and not self.closed:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._wake.wait()
        if self._lost:
            self._lost = False
            return BusEvent(id="", topic=RESYNC, data={"dropped": self.dropped}, at=utcnow())
        return self._queue.popleft() if self._queue else None

    async def __aiter__(self) -> AsyncIterator[BusEvent]:
        while not self.closed or self._queue or self._lost:
            event = await self.next(HEARTBEAT_SECONDS)
            if event is not None:
                yield event


class EventBus:
    """Publish and subscribe inside one console process. Used from its event loop only."""

    def __init__(self) -> None:
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._ring: deque[tuple[int, BusEvent]] = deque(maxlen=RING_EVENTS)
        self._subscriptions: set[Subscription] = set()
        self.closed = False

    def __repr__(self) -> str:
        return f"<EventBus {self._boot} published={self._number} subscribers={len(self._subscriptions)}>"

    def publish(self, topic: str, data: dict[str, Any]) -> None:
        """Tell everyone who listens to the topic; never waits, never fails."""
        self._number += 1
        event = BusEvent(id=f"{self._boot}-{self._number}", topic=topic, data=data, at=utcnow())
        self._ring.append((self._number, event))
        for subscription in self._subscriptions:
            if topic in subscription.topics:
                subscription.offer(event)

    def subscribe(self, topics: Collection[str] = TOPICS, *, last_event_id: str = "") -> Subscription:
        """Start to listen, from after `last_event_id` where that is still remembered.

        Raises Unavailable when too many do.
        """
        if self.closed or len(self._subscriptions) >= MAX_SUBSCRIBERS:
            raise Unavailable("Too many live connections.")
        subscription = Subscription(frozenset(topics))
        if last_event_id:
            self._replay(subscription, last_event_id)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening; synchronous on purpose, so that it also works while the subscriber's task is being cancelled."""
        subscription.close()
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.close()

    @property
    def subscribers(self) -> int:
        """How many listen at the moment."""
        return len(self._subscriptions)

    def _replay(self, subscription: Subscription, last_event_id: str) -> None:
        boot, _, text = last_event_id.partition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
        oldest = self._ring[0][0] if self._ring else self._number + 1
        if boot != self._boot or not oldest - 1 <= number <= self._number:
            subscription.mark_lost()
            return
        for position, event in self._ring:
            if position > number and event.topic in subscription.topics:
                subscription.offer(event)


def encode(event: BusEvent) -> bytes:
    """An event in the format of the WHATWG EventSource specification, its data as one line of JSON."""
    identity = f"id: {event.id}\n" if event.id else ""
    return f"{identity}event: {event.topic}\ndata: ".encode() + msgspec.json.encode(event.data) + b"\n\n"


async def stream(
    bus: EventBus,
    subscription: Subscription,
    is_still_allowed: Callable[[], Awaitable[bool]],
    render: Callable[[BusEvent], bytes] = encode,
) -> AsyncIterator[bytes]:
    """The bytes of one SSE response.

    Events as they come, a heartbeat when it is quiet, the end when the session ends (ADM-09).
    """
    loop = asyncio.get_running_loop()
    checked = beaten = loop.time()
    try:
        yield b": connected\n\n"
        while True:
            event = await subscription.next(RECHECK_SECONDS)
            if event is None and subscription.closed:
                return
            now = loop.time()
            if now - checked >= RECHECK_SECONDS:
                checked = now
                if not await is_still_allowed():
                    return
            if event is not None:
                beaten = now
                yield render(event)
            elif now - beaten >= HEARTBEAT_SECONDS:
                beaten = now
                yield HEARTBEAT
    finally:
        bus.unsubscribe(subscription)
