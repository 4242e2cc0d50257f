"""Scripted peers that speak bytes, not HTTP libraries: a raw client, and an upstream that records and misbehaves.

They share no code with the product, so they see what is really on the wire.

A client, byte by byte::

    async with await RawClient.connect(host, port) as client:
        await client.send(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
        answer = await client.read_response()      # one response: status, headers, body, how it ended
        rest = await client.read_to_end()          # everything until the peer closes or resets

An upstream is a script that runs once per connection; everything it receives is kept::

    async def script(peer: UpstreamPeer) -> None:
        request = await peer.read_request()
        await peer.send(http_response(200, b"{}"))

    async with Upstream(script) as upstream:
        ... upstream.url ...
        assert upstream.connections[0].received == b"..."
        assert [request.target for request in upstream.requests] == ["/v1/x"]

Waiting is always for an event (a request arrived, a peer left), under one generous deadline that only a hang reaches.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

HANG_SECONDS = 20.0
"""No test waits this long unless something hangs."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def http_request(
    target: str = "/",
    *,
    method: str = "GET",
    headers: tuple[str, ...] = (),
    body: bytes = b"",
    host: str = "proxy.test",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request with exactly these header lines after Host, and a Content-Length if there is a body."""
    lines = [f"{method} {target} {version}", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def http_response(status: int = 200, body: bytes = b"", *, headers: tuple[str, ...] = ()) -> bytes:
    """A response with a Content-Length and exactly these further header lines."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, last: bool = True) -> bytes:
    """The chunks in the chunked coding."""
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return coded + (b"0\r\n\r\n" if last else b"")


@dataclass
class RawMessage:
    """A request or response as it was on the wire."""

    start_line: str
    fields: list[tuple[str, str]]
    """Lower-case names, values stripped, in order."""
    body: bytes
    complete: bool
    """False when the connection ended before the message did."""

    @property
    def status(self) -> int:
        """Status of a response."""
        return int(self.start_line.split(" ")[1])

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.start_line.split(" ")[0]

    @property
    def target(self) -> str:
        """Target of a request."""
        return self.start_line.split(" ")[1]

    def header(self, name: str) -> str | None:
        """The single value of a field; fails the test when there are several."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None


class _Wire:
    """One TCP connection, and a small HTTP reader on it that takes every framing at its word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead = b""
        self.received = b""
        """Every byte that came, in order."""
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        """Send bytes in as few segments as the kernel makes of them."""
        self._writer.write(data)
        await self._writer.drain()

    async def dribble(self, data: bytes, size: int = 1) -> None:
        """Send bytes in pieces, each handed to the kernel on its own (TCP_NODELAY is set)."""
        for start in range(0, len(data), size):
            await self.send(data[start : start + size])
            await asyncio.sleep(0)

    async def read_some(self) -> bytes:
        """The next bytes; empty at the end of the connection, however it came."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        try:
            async with asyncio.timeout(HANG_SECONDS):
                data = await self._reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            self.was_reset = True
            return b""
        self.received += data
        return data

    async def read_exactly(self, size: int) -> bytes:
        """This many bytes, or fewer when the connection ends."""
        data = b""
        while len(data) < size and (piece := await self.read_some()):
            data += piece
        self._ahead = data[size:] + self._ahead
        return data[:size]

    async def read_until(self, mark: bytes) -> bytes:
        """Bytes up to and including the mark, or fewer when the connection ends."""
        data = b""
        while mark not in data and (piece := await self.read_some()):
            data += piece
        end = data.index(mark) + len(mark) if mark in data else len(data)
        self._ahead = data[end:] + self._ahead
        return data[:end]

    async def read_to_end(self) -> bytes:
        """Everything until the peer closes or resets the connection."""
        data = b""
        while piece := await self.read_some():
            data += piece
        return data

    async def half_close(self) -> None:
        """Send FIN and keep reading."""
        self._writer.write_eof()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the socket with FIN."""
        self._writer.close()
        await self._closed()

    async def reset(self) -> None:
        """Close the socket with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()
        await self._closed()

    def pause(self) -> None:
        """Stop taking bytes from the kernel, as a client that does not read."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Take bytes again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def _closed(self) -> None:
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await self._writer.wait_closed()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return

    async def read_message(self, *, bodyless: bool = False) -> RawMessage | None:
        """One message; None when the connection ended before its first byte."""
        head = await self.read_until(b"\r\n\r\n")
        if not head:
            return None
        lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        fields = [(name.lower(), value.strip()) for name, _, value in pairs]
        message = RawMessage(lines[0], fields, b"", complete=head.endswith(b"\r\n\r\n"))
        if not message.complete or bodyless:
            return message
        length = message.header("content-length")
        if "chunked" in (message.header("transfer-encoding") or ""):
            message.body, message.complete = await self._read_chunks()
        elif length is not None:
            message.body = await self.read_exactly(int(length))
            message.complete = len(message.body) == int(length)
        elif lines[0].startswith("HTTP/"):
            message.body = await self.read_to_end()
            message.complete = not self.was_reset
        return message

    async def _read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            size_line = await self.read_until(b"\r\n")
            if not size_line.endswith(b"\r\n"):
                return body, False
            size = int(size_line.split(b";")[0], 16)
            if not size:
                return body, (await self.read_until(b"\r\n")).endswith(b"\r\n")
            chunk = await self.read_exactly(size)
            body += chunk
            if len(chunk) < size or await self.read_exactly(2) != b"\r\n":
                return body, False


class RawClient(_Wire):
    """A client under the test's full control."""

    @classmethod
    async def connect(
        cls, host: str, port: int, *, tls: ssl.SSLContext | None = None, receive_buffer_bytes: int = 0
    ) -> Self:
        """Connect, with a small kernel receive buffer if asked (for tests of slow readers)."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = "localhost" if tls is not None else None
        limit = receive_buffer_bytes or 65536
        return cls(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name, limit=limit))

    async def read_response(self, *, bodyless: bool = False) -> RawMessage:
        """One final response; interim ones (1xx) are skipped. Fails when the connection ends before it begins."""
        while True:
            message = await self.read_message(bodyless=bodyless)
            assert message is not None, "the connection ended without a response"
            if message.status >= 200:
                return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class UpstreamPeer(_Wire):
    """One connection that the gateway opened to the upstream."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noted: Callable[[RawMessage], None]
    ) -> None:
        super().__init__(reader, writer)
        self._noted = noted
        self.gone = asyncio.Event()
        """Set when the gateway has closed or reset the connection (seen while reading)."""

    async def read_request(self) -> RawMessage | None:
        """The next request; None when the gateway closed the connection instead."""
        message = await self.read_message()
        if message is None:
            self.gone.set()
        else:
            self._noted(message)
        return message

    async def wait_gone(self) -> None:
        """Return when the gateway has given the connection up."""
        await self.read_to_end()
        self.gone.set()


Script = Callable[[UpstreamPeer], Awaitable[None]]


async def answer_all(peer: UpstreamPeer) -> None:
    """The default script: every request gets 200 and a body that names what was asked."""
    while (request := await peer.read_request()) is not None:
        body = f"{request.method} {request.target} {len(request.body)}".encode()
        await peer.send(http_response(200, body, headers=("Content-Type: text/plain",)))


@dataclass
class Upstream:
    """A server whose behaviour is a script. Use as an asynchronous context manager."""

    script: Script = answer_all
    connections: list[UpstreamPeer] = field(default_factory=list)
    requests: list[RawMessage] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    port: int = 0

    async def __aenter__(self) -> Self:
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.connections:
            await peer.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def wait_for_requests(self, count: int) -> None:
        """Return when this many requests have arrived."""
        async with asyncio.timeout(HANG_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = UpstreamPeer(reader, writer, self._note)
        self.connections.append(peer)
        try:
            await self.script(peer)
        finally:
            if not task.cancelling():
                self._tasks.discard(task)
                await peer.close()

    def _note(self, request: RawMessage) -> None:
        self.requests.append(request)
        notifier = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(notifier)
        notifier.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()
