"""Carries the WebSocket cases of a test suite to a server of MCP: their frames as they are, their texts as tool calls.

The suite wants back what it sends. An MCP server gives no bare text back, but its tool `echo` does, so each text message
becomes a call of that tool on the way there, and the text of the result becomes the message on the way back. Nothing else
is touched: where frames and fragments begin and end, reserved bits, opcodes, pings, close codes, bytes that are not UTF-8
and the moments at which bytes arrive are the suite's. Only the head of a frame waits until it is whole.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.mcp_wire import request

GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY: Final = base64.b64encode(b"0123456789abcdef").decode()
CONTINUATION, TEXT, BINARY = 0, 1, 2
CLOSE: Final = 8
STAND_IN: Final = ord("_")
"""Stands for a byte that JSON wants escaped, so that a frame's length is known before its bytes are."""


def frame(opcode: int, payload: bytes, *, mask: bytes = b"", fin: bool = True, first_byte: int | None = None) -> bytes:
    """One frame; with `mask` as a client sends it."""
    return head(0x80 * fin | opcode if first_byte is None else first_byte, len(payload), mask) + masked(payload, mask)


def head(first_byte: int, length: int, mask: bytes) -> bytes:
    """The head of a frame in the shortest form."""
    masking = 0x80 if mask else 0
    if length < 126:
        return bytes([first_byte, masking | length]) + mask
    if length < 1 << 16:
        return bytes([first_byte, masking | 126]) + length.to_bytes(2) + mask
    return bytes([first_byte, masking | 127]) + length.to_bytes(8) + mask


def masked(payload: bytes, mask: bytes, offset: int = 0) -> bytes:
    """The payload under a mask whose use began `offset` bytes ago."""
    if not mask or not payload:
        return payload
    key = (mask[offset % 4 :] + mask * (len(payload) // 4 + 2))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))


class Head:
    """The head of a frame, once all its bytes are there."""

    def __init__(self, data: bytes) -> None:
        self.first_byte, second = data[0], data[1]
        self.fin, self.reserved, self.opcode = data[0] >> 7 == 1, data[0] & 0x70, data[0] & 0x0F
        extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
        self.size = 2 + extended + (4 if second & 0x80 else 0)
        self.length = int.from_bytes(data[2 : 2 + extended]) if extended else second & 0x7F
        self.mask = data[self.size - 4 : self.size] if second & 0x80 else b""

    @staticmethod
    def read(data: bytes | bytearray) -> Head | None:
        """None while bytes are missing."""
        if len(data) < 2:
            return None
        one = Head(bytes(data[:14]).ljust(14, b"\0"))
        return one if len(data) >= one.size else None


class ToServer:
    """Bytes of the suite on their way to the server; every text message becomes a call with the next id."""

    def __init__(self) -> None:
        self.replaced: dict[int, list[tuple[int, int]]] = {}
        """For each call where in its text a byte was replaced, and what stood there."""
        self._buffer = bytearray()
        self._current: Head | None = None
        self._left = 0
        self._translated = False
        self._masked_bytes = 0
        self._message: int | None = None
        """Opcode of the message that is under way."""
        self._call_id = 0
        self._text_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """What these bytes become; what is not yet a head stays."""
        self._buffer += data
        out = bytearray()
        while True:
            if self._current is None:
                self._current = Head.read(self._buffer)
                if self._current is None:
                    return bytes(out)
                out += self._begin(self._current)
            taken = bytes(self._buffer[: self._left])
            del self._buffer[: len(taken)]
            self._left -= len(taken)
            out += self._payload(self._current, taken)
            if self._left:
                return bytes(out)
            out += self._end(self._current)
            self._current = None

    def rest(self) -> bytes:
        """The suite sends no more: what never became a head."""
        return bytes(self._buffer) if self._current is None else b""

    def _begin(self, one: Head) -> bytes:
        raw = bytes(self._buffer[: one.size])
        del self._buffer[: one.size]
        self._left = one.length
        self._masked_bytes = 0
        begins = one.opcode == TEXT and self._message is None
        self._translated = not one.reserved and (begins or (one.opcode == CONTINUATION and self._message == TEXT))
        if one.opcode in (TEXT, BINARY) and self._message is None:
            self._message = one.opcode
        if not self._translated:
            return raw
        before = b""
        if begins:
            self._call_id += 1
            self._text_bytes = 0
            self.replaced[self._call_id] = []
            before = _BEFORE % self._call_id
        length = len(before) + one.length + (len(_AFTER) if one.fin else 0)
        return head(one.first_byte, length, one.mask) + self._mask(one, before)

    def _payload(self, one: Head, data: bytes) -> bytes:
        if not self._translated:
            return data
        clear = bytearray(masked(data, one.mask, (one.length - self._left - len(data)) % 4))
        for position, byte in enumerate(clear):
            if byte < 0x20 or byte in b'"\\':
                self.replaced[self._call_id].append((self._text_bytes + position, byte))
                clear[position] = STAND_IN
        self._text_bytes += len(clear)
        return self._mask(one, bytes(clear))

    def _end(self, one: Head) -> bytes:
        after = self._mask(one, _AFTER) if self._translated and one.fin else b""
        if one.fin and one.opcode in (CONTINUATION, TEXT, BINARY):
            self._message = None
        return after

    def _mask(self, one: Head, data: bytes) -> bytes:
        out = masked(data, one.mask, self._masked_bytes % 4)
        self._masked_bytes += len(data)
        return out


_BEFORE: Final = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"'
_AFTER: Final = b'"}}}'


class FromServer:
    """Bytes of the server on their way to the suite: the text of a result is the message, other frames are as they were."""

    def __init__(self, calls: ToServer) -> None:
        self._calls = calls
        self._buffer = bytearray()
        self._text = bytearray()
        self.initialized = False

    def feed(self, data: bytes) -> bytes:
        """What these bytes become."""
        self._buffer += data
        out = bytearray()
        while (one := Head.read(self._buffer)) is not None and len(self._buffer) >= one.size + one.length:
            raw = bytes(self._buffer[: one.size + one.length])
            del self._buffer[: len(raw)]
            if one.opcode not in (CONTINUATION, TEXT):
                out += raw
                continue
            self._text += raw[one.size :]
            if one.fin:
                message, self._text = json.loads(self._text), bytearray()
                out += self._translate(message)
        return bytes(out)

    def _translate(self, message: dict[str, Any]) -> bytes:
        if message.get("id") == 0:
            self.initialized = "result" in message
            return b""
        if "result" not in message:
            return frame(TEXT, json.dumps(message).encode())
        text = bytearray(message["result"]["content"][0]["text"].encode())
        for position, byte in self._calls.replaced.pop(message["id"]):
            text[position] = byte
        return frame(TEXT, bytes(text))


class _Case:
    """One connection of the suite, and the one to the server that belongs to it."""

    def __init__(self, port: int, path: str, credential: str) -> None:
        self._port = port
        self._opening = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n"
            + (f"Authorization: Bearer {credential}\r\n" if credential else "")
            + "\r\n"
        ).encode()
        self._to_server = ToServer()
        self._from_server = FromServer(self._to_server)

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the handshakes to the end of both connections."""
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await self._initialize(server, to_server)
            writer.write(_accepting(await reader.readuntil(b"\r\n\r\n")))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._there(reader, to_server))
                ways.create_task(self._back(server, writer))
        finally:
            to_server.close()
            writer.close()

    async def _initialize(self, server: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        to_server.write(self._opening)
        answer = await server.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        hello = request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo=_CLIENT)
        to_server.write(frame(TEXT, json.dumps(hello).encode(), mask=b"abcd"))
        while not self._from_server.initialized:
            data = await server.read(65536)
            assert data, "the server left during the handshake of MCP"
            self._from_server.feed(data)
        started = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        to_server.write(frame(TEXT, json.dumps(started).encode(), mask=b"abcd"))

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(self._to_server.feed(data))
                await writer.drain()
            writer.write(self._to_server.rest())
            writer.write_eof()
        except (ConnectionError, OSError):
            return  # The server has closed; what it said before is on its way back.

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(self._from_server.feed(data))
                await writer.drain()
        except (ConnectionError, OSError):
            return  # A reset looks to the suite like the end that it is.
        finally:
            writer.close()


_CLIENT: Final = {"name": "cases", "version": "1"}


def _accepting(opening: bytes) -> bytes:
    fields = dict(line.split(b": ", 1) for line in opening.split(b"\r\n")[1:] if b": " in line)
    key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"].decode()
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def translated(port: int, path: str, credential: str = "") -> AsyncIterator[str]:
    """A listener for the suite in front of the MCP server at this port; yields `host:port`."""
    errors: list[BaseException] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Case(port, path, credential).run(reader, writer)
        except (Exception, asyncio.CancelledError) as error:
            errors.append(error)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname()[:2])
    assert not errors, errors[:3]
