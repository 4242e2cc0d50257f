"""The worker's end of the message channel, with the other end in the test's hands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies import channel as channel_module
from proxies.channel import Channel, FrameError, FrameReader
from proxies.contract import AckEvents, Drain, Heartbeat, Hello, ToWorker, encoder, to_console_decoder


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(1, 30))
def test_frames_survive_any_split(payloads: list[bytes], size: int) -> None:
    reader = FrameReader()
    stream = b"".join(map(frame, payloads))
    found = []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == payloads


def test_frame_beyond_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="11 bytes"):
        FrameReader(max_frame_bytes=10).feed((11).to_bytes(4, "big"))


class Console:
    """The other end, and what the worker's end reported."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        self.messages: list[ToWorker] = []
        self.writable = 0
        self.reasons: list[str] = []
        self.event = asyncio.Event()
        self.channel = Channel(theirs, on_message=self._take, on_writable=self._write, on_closed=self._close)
        self.reader = FrameReader()

    def _take(self, message: ToWorker) -> None:
        self.messages.append(message)
        self.event.set()

    def _write(self) -> None:
        self.writable += 1
        self.event.set()

    def _close(self, reason: str) -> None:
        self.reasons.append(reason)
        self.event.set()

    def read(self) -> list[object]:
        """Everything that is in the kernel right now."""
        found: list[object] = []
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return found
            if not data:
                return found
            found += [to_console_decoder.decode(payload) for payload in self.reader.feed(data)]


@pytest.fixture
async def console() -> Iterator[Console]:  # type: ignore[misc]
    console = Console()
    yield console  # type: ignore[misc]
    console.channel.close()
    console.socket.close()


HELLO = Hello(contract_version=1, version="1", pid=1)


async def test_sent_message_is_in_the_kernel_at_once(console: Console) -> None:
    assert console.channel.send(HELLO) is True
    assert console.read() == [HELLO]


async def test_messages_arrive_in_order_whatever_the_split(console: Console) -> None:
    data = frame(encoder.encode(AckEvents(1))) + frame(encoder.encode(Drain(2.0)))
    for byte in data:
        console.socket.send(bytes([byte]))
    while len(console.messages) < 2:
        console.event.clear()
        await console.event.wait()
    assert console.messages == [AckEvents(1), Drain(2.0)]


async def test_backlog_is_told_and_goes_out_when_the_console_reads(console: Console) -> None:
    sent = 1
    while console.channel.send(Hello(1, "x" * 10_000, sent)):
        sent += 1
    assert console.channel.blocked
    assert console.channel.send(HELLO) is False
    found: list[object] = []
    while not console.writable:
        found += console.read()
        await asyncio.sleep(0)
    found += console.read()
    assert not console.channel.blocked
    assert [message.pid for message in found if isinstance(message, Hello)] == [*range(1, sent + 1), 1]


async def test_backlog_is_bounded(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_BACKLOG_BYTES", 50_000)
    while console.channel.send(Hello(1, "x" * 10_000, 1)):
        continue
    for _ in range(20):
        console.channel.send(Hello(1, "x" * 10_000, 1))
    assert len(console.channel._backlog) <= 60_000


async def test_lost_console_is_reported_once(console: Console) -> None:
    console.socket.close()
    await console.event.wait()
    assert console.reasons == ["the console is gone"]
    assert console.channel.send(HELLO) is False
    console.channel.close("again")
    assert len(console.reasons) == 1


async def test_write_to_a_lost_console_is_no_error(console: Console) -> None:
    console.socket.close()
    beat = Heartbeat(at=0.0, connections=0, in_flight=0, loop_lag_ms=0.0, rss_bytes=0, unacknowledged_events=0)
    assert console.channel.send(beat) is False
    assert console.channel.closed
    assert len(console.reasons) == 1


@pytest.mark.parametrize("data", [frame(b"\xc1"), (1 << 31).to_bytes(4, "big"), frame(encoder.encode({"type": "?"}))])
async def test_unintelligible_console_is_left(console: Console, data: bytes) -> None:
    console.socket.send(data)
    await console.event.wait()
    assert console.reasons == ["the console is unintelligible"]


async def test_own_close_is_not_reported(console: Console) -> None:
    console.channel.close()
    assert console.reasons == []
    assert "closed" in repr(console.channel)
