"""What connections write goes out at the end of the event loop's round: in order, bounded, and before any end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxies.transport.outgoing import MAX_KEPT_BYTES, Outgoing


class Pair:
    """A connected socket of which one end is a transport, and what it was given."""

    def __init__(self, transport: asyncio.WriteTransport, reader: asyncio.StreamReader) -> None:
        self.transport = transport
        self.reader = reader
        self.outgoing = Outgoing(asyncio.get_running_loop())
        self.outgoing.attach(transport)  # type: ignore[arg-type]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )
    server = await asyncio.start_server(lambda *ends: accepted.set_result(ends), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    reader, other = await accepted
    yield Pair(writer.transport, reader)
    for end in (writer, other):
        end.close()
        await end.wait_closed()
    server.close()
    await server.wait_closed()


async def test_writes_of_one_round_go_out_at_its_end_in_order(pair: Pair) -> None:
    pair.outgoing.write(b"one ")
    pair.outgoing.write(b"two ")
    assert pair.outgoing.is_kept_back
    async with asyncio.timeout(10):
        assert await pair.reader.readexactly(8) == b"one two "
    assert not pair.outgoing.is_kept_back
    pair.outgoing.write(b"three")
    async with asyncio.timeout(10):
        assert await pair.reader.readexactly(5) == b"three"


async def test_much_goes_out_at_once_behind_what_was_kept(pair: Pair) -> None:
    pair.outgoing.write(b"a")
    pair.outgoing.write(b"b" * MAX_KEPT_BYTES)
    assert not pair.outgoing.is_kept_back
    pair.outgoing.write(b"c")
    async with asyncio.timeout(10):
        assert await pair.reader.readexactly(MAX_KEPT_BYTES + 2) == b"a" + b"b" * MAX_KEPT_BYTES + b"c"


async def test_what_is_kept_can_be_sent_before_an_end(pair: Pair) -> None:
    pair.outgoing.write(b"last words")
    pair.outgoing.send()
    pair.transport.close()
    async with asyncio.timeout(10):
        assert await pair.reader.read() == b"last words"


async def test_a_transport_that_is_gone_is_given_nothing(pair: Pair) -> None:
    pair.outgoing.write(b"too late")
    pair.transport.close()
    async with asyncio.timeout(10):
        assert await pair.reader.read() == b""
    assert not pair.outgoing.is_kept_back
