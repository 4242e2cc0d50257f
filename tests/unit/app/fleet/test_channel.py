"""The console's end of the channels, with a worker's end in the test's hands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from app.fleet import channel as channel_module
from app.fleet.channel import ChannelClosed, WorkerChannel
from proxies.channel import FrameReader
from proxies.contract import AckEvents, Hello, ListenerSocket, SetSnapshot, Snapshot, encoder, socket_decoder


class Ends:
    """Both ends."""

    def __init__(self, channel: WorkerChannel, messages: socket.socket, sockets: socket.socket) -> None:
        self.channel = channel
        self.messages = messages
        self.sockets = sockets
        messages.setblocking(False)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    channel, messages, sockets = await WorkerChannel.open()
    yield Ends(channel, messages, sockets)
    channel.close()
    messages.close()
    sockets.close()


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


async def test_messages_go_both_ways(ends: Ends) -> None:
    hello = Hello(1, "tests", 1)
    ends.messages.send(frame(encoder.encode(hello)))
    assert await ends.channel.receive() == hello
    await ends.channel.send(AckEvents(7))
    assert FrameReader().feed(ends.messages.recv(1000)) == [encoder.encode(AckEvents(7))]
    assert "open" in repr(ends.channel)


@pytest.mark.parametrize("data", [frame(b"\xc1"), (1 << 31).to_bytes(4, "big"), b"\0\0\0\x09half"])
async def test_unintelligible_or_torn_frame_ends_the_channel(ends: Ends, data: bytes) -> None:
    ends.messages.send(data)
    ends.messages.close()
    with pytest.raises(ChannelClosed):
        await ends.channel.receive()


async def test_message_beyond_the_bound_is_refused(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_FRAME_BYTES", 5)
    with pytest.raises(ValueError, match="does not fit"):
        await ends.channel.send(SetSnapshot(Snapshot(1, (), (), ())))


async def test_worker_that_is_gone_is_told_apart_from_a_fault(ends: Ends) -> None:
    ends.messages.close()
    ends.sockets.close()
    with pytest.raises(ChannelClosed):
        await ends.channel.receive()
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(ChannelClosed):
        await ends.channel.pass_socket(ListenerSocket("prx_a", "127.0.0.1", 1), listening)
    ends.channel.close()
    with pytest.raises(ChannelClosed):
        await ends.channel.send(AckEvents(1))


async def test_sockets_wait_for_a_worker_that_is_slow_to_take_them(ends: Ends) -> None:
    count = 600  # More datagrams than the kernel queues.

    async def take() -> list[str]:
        taken = []
        ends.sockets.setblocking(False)
        while len(taken) < count:
            try:
                data, descriptors, _, _ = socket.recv_fds(ends.sockets, 4096, 1)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            taken.append(socket_decoder.decode(data).proxy_id)
            for descriptor in descriptors:
                socket.socket(fileno=descriptor).close()
        return taken

    with socket.create_server(("127.0.0.1", 0)) as listening:
        names = [f"prx_{number}" for number in range(count)]
        passing = [
            asyncio.create_task(ends.channel.pass_socket(ListenerSocket(name, "127.0.0.1", 1), listening))
            for name in names
        ]
        await asyncio.sleep(0)
        assert not all(task.done() for task in passing)
        assert await take() == names
        await asyncio.gather(*passing)
