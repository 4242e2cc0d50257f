"""The server's end of a WebSocket, byte by byte (W-02)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from proxies.transport import websocket_server
from proxies.transport.guard import parse_request_head
from proxies.transport.server_messages import Request, Response
from proxies.transport.websocket_server import HandshakeRefused, ServerWebSocket


class Connection:
    """Stands for the connection below: keeps what is sent, and whether reading is held."""

    def __init__(self) -> None:
        self.sent = b""
        self.held = False
        self.drain: asyncio.Future[None] | None = None
        self.changed = asyncio.Event()

    def send_bytes(self, data: bytes) -> None:
        self.sent += data
        self.changed.set()

    async def drained(self) -> None:
        if self.drain is not None:
            await asyncio.shield(self.drain)

    def take_over(self, receiver: Any) -> None:
        receiver.data_received(b"")

    def hold_reading(self, *, hold: bool) -> None:
        self.held = hold


class Peer:
    """A client that speaks bytes, a server's end, and what is between them."""

    def __init__(self, **options: Any) -> None:
        self.connection: Any = Connection()
        self.client = ClientProtocol(parse_uri("ws://proxy.test/ws"), subprotocols=["mcp"], max_size=None)  # type: ignore[list-item]
        self.client.send_request(self.client.connect())
        head = parse_request_head(b"".join(self.client.data_to_send()))
        self.request = Request(head, self.connection, peer_ip="", scheme="http", max_body_bytes=0)
        self.response = Response(self.request, self.connection)
        self.socket = ServerWebSocket(max_message_bytes=options.get("max_message_bytes", 1 << 20), subprotocols=["mcp"])

    def open(self) -> ServerWebSocket:
        self.socket.accept(self.request, self.response)
        self.frames()
        return self.socket

    def send(self) -> None:
        """Hand on what the client has to send."""
        self.socket.data_received(b"".join(self.client.data_to_send()))

    def frames(self) -> list[Frame]:
        """What the server has sent."""
        data, self.connection.sent = self.connection.sent, b""
        if data:
            self.client.receive_data(data)
        return [event for event in self.client.events_received() if isinstance(event, Frame)]


async def test_W_02_messages_arrive_whole_in_any_split() -> None:
    peer = Peer()
    socket = peer.open()
    assert peer.response.status == 101
    peer.client.send_text("häl".encode(), fin=False)
    peer.client.send_ping(b"between")
    peer.client.send_continuation(b"lo", fin=True)
    for byte in b"".join(peer.client.data_to_send()):
        socket.data_received(bytes([byte]))
    assert await socket.receive() == "hällo"
    assert [frame.opcode for frame in peer.frames()] == [Opcode.PONG]
    await socket.send("back")
    assert [bytes(frame.data) for frame in peer.frames()] == [b"back"]
    peer.client.send_close(1000)
    peer.send()
    assert await socket.receive() is None
    assert socket.close_code == 1000
    socket.finish()
    assert peer.response.finished
    with pytest.raises(ConnectionResetError):
        await socket.send("late")


async def test_W_02_a_client_that_sends_faster_than_it_is_served_is_held() -> None:
    peer = Peer()
    socket = peer.open()
    for _ in range(3):
        peer.client.send_text(b"x" * 150_000)
    peer.send()
    assert peer.connection.held
    await socket.receive()
    assert peer.connection.held
    await socket.receive()
    assert not peer.connection.held


async def test_W_02_silent_clients_are_pinged_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_server, "PING_SECONDS", 0.01)
    peer = Peer()
    socket = peer.open()
    async with asyncio.timeout(10):
        assert await socket.receive() is None
    opcodes = [frame.opcode for frame in peer.frames()]
    assert opcodes[0] is Opcode.PING
    assert opcodes[-1] is Opcode.CLOSE
    assert socket.close_code == 1011


async def test_a_lost_connection_ends_everything_that_waits() -> None:
    peer = Peer()
    socket = peer.open()
    ended: list[bool] = []
    socket.on_over = lambda: ended.append(True)
    peer.connection.drain = asyncio.get_running_loop().create_future()
    sending = asyncio.ensure_future(socket.send("x"))
    cancelled = asyncio.ensure_future(socket.send("y"))
    receiving = asyncio.ensure_future(socket.receive())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    assert cancelled.cancelled()
    socket.connection_lost()
    peer.connection.drain.cancel()
    with pytest.raises(ConnectionResetError):
        await sending
    assert await receiving is None
    socket.close(1000, "again")
    assert ended == [True]


@pytest.mark.parametrize("head", [b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /ws HTTP/1.0\r\nHost: h\r\n\r\n"])
async def test_W_02_what_is_no_handshake_is_refused_and_nothing_is_sent(head: bytes) -> None:
    connection: Any = Connection()
    request = Request(parse_request_head(head), connection, peer_ip="", scheme="http", max_body_bytes=0)
    socket = ServerWebSocket(max_message_bytes=100, subprotocols=["mcp"])
    with pytest.raises(HandshakeRefused) as refused:
        socket.accept(request, Response(request, connection))
    assert refused.value.status == (426 if b"1.1" in head else 505)
    assert connection.sent == b""
    socket.finish()
