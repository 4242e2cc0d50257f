"""The event bus and its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import Unavailable
from app.http import events as module
from app.http.events import EventBus, stream


async def allowed() -> bool:
    return True


async def refused() -> bool:
    return False


async def next_chunk(chunks: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        return await anext(chunks)


async def test_subscribers_get_their_topics_in_order() -> None:
    bus = EventBus()
    alerts = bus.subscribe({"alert"})
    everything = bus.subscribe()
    for number in range(3):
        bus.publish("alert", {"n": number})
        bus.publish("call", {"n": number})
    bus.close()
    assert [(event.topic, event.data["n"]) async for event in alerts] == [("alert", 0), ("alert", 1), ("alert", 2)]
    assert len([event async for event in everything]) == 6
    assert bus.subscribers == 2


async def test_publishing_never_waits_and_a_slow_subscriber_is_told_what_it_lost() -> None:
    bus = EventBus()
    slow = bus.subscribe()
    for number in range(module.QUEUE_EVENTS + 10):
        bus.publish("call", {"n": number})
    assert slow.dropped == 10
    first = await slow.next(1)
    second = await slow.next(1)
    assert first is not None
    assert second is not None
    assert (first.topic, first.data) == (module.RESYNC, {"dropped": 10})
    assert second.data == {"n": 10}
    assert "dropped=10" in repr(slow)


async def test_a_reconnecting_subscriber_gets_what_it_missed() -> None:
    bus = EventBus()
    first = bus.subscribe()
    for number in range(4):
        bus.publish("call", {"n": number})
    seen = await first.next(1)
    assert seen is not None
    bus.unsubscribe(first)
    again = bus.subscribe({"call"}, last_event_id=seen.id)
    bus.unsubscribe(again)
    assert [event.data["n"] async for event in again] == [1, 2, 3]


@pytest.mark.parametrize("last_event_id", ["another-1", "nonsense", "-", "…-٣", "{boot}-99", "{boot}-1"])
async def test_an_id_that_is_not_remembered_asks_for_a_resync(
    last_event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RING_EVENTS", 2)
    bus = EventBus()
    for number in range(5):
        bus.publish("call", {"n": number})
    again = bus.subscribe(last_event_id=last_event_id.format(boot=bus._boot))
    event = await again.next(1)
    assert event is not None
    assert event.topic == module.RESYNC


async def test_the_newest_id_needs_no_resync() -> None:
    bus = EventBus()
    bus.publish("call", {})
    again = bus.subscribe(last_event_id=f"{bus._boot}-1")
    assert await again.next(0.01) is None


async def test_the_number_of_subscribers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SUBSCRIBERS", 1)
    bus = EventBus()
    held = bus.subscribe()
    with pytest.raises(Unavailable):
        bus.subscribe()
    bus.unsubscribe(held)
    bus.unsubscribe(bus.subscribe())
    bus.close()
    with pytest.raises(Unavailable):
        bus.subscribe()
    assert "subscribers=0" in repr(bus)


async def test_the_stream_speaks_server_sent_events_and_ends_with_the_bus() -> None:
    bus = EventBus()
    chunks = stream(bus, bus.subscribe({"alert"}), allowed)
    assert await next_chunk(chunks) == b": connected\n\n"
    bus.publish("alert", {"text": "two\nlines"})
    bus.close()
    assert await next_chunk(chunks) == f'id: {bus._boot}-1\nevent: alert\ndata: {{"text":"two\\nlines"}}\n\n'.encode()
    with pytest.raises(StopAsyncIteration):
        await next_chunk(chunks)
    assert bus.subscribers == 0


async def test_a_quiet_stream_has_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)
    bus = EventBus()
    chunks = stream(bus, bus.subscribe(), allowed)
    assert await next_chunk(chunks) == b": connected\n\n"
    assert await next_chunk(chunks) == module.HEARTBEAT
    await chunks.aclose()  # type: ignore[attr-defined]
    assert bus.subscribers == 0


async def test_ADM_09_the_stream_ends_when_the_session_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.01)
    bus = EventBus()
    chunks = stream(bus, bus.subscribe(), refused)
    assert await next_chunk(chunks) == b": connected\n\n"
    with pytest.raises(StopAsyncIteration):
        await next_chunk(chunks)
    assert bus.subscribers == 0


async def test_a_busy_stream_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.0)
    bus = EventBus()
    chunks = stream(bus, bus.subscribe(), refused)
    bus.publish("call", {})
    assert await next_chunk(chunks) == b": connected\n\n"
    with pytest.raises(StopAsyncIteration):
        await next_chunk(chunks)
