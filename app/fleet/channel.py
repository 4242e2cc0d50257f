"""The console's end of a worker's two channels (`proxies.contract` describes them)."""

from __future__ import annotations

import asyncio
import socket
from typing import Self

import msgspec

from proxies.contract import (
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    ListenerSocket,
    ToConsole,
    ToWorker,
    encoder,
    to_console_decoder,
)


class ChannelClosed(ConnectionError):
    """The worker is gone, or sent what the contract does not know."""


class WorkerChannel:
    """Messages to and from one worker, and listening sockets to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sockets: socket.socket) -> None:
        self._reader = reader
        self._writer = writer
        self._sockets = sockets
        self._passing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<WorkerChannel {'closing' if self._writer.is_closing() else 'open'}>"

    @classmethod
    async def open(cls) -> tuple[Self, socket.socket, socket.socket]:
        """A channel, and the two sockets that the worker inherits: messages, listening sockets.

        The caller closes its copies of these two once the worker is started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        our_sockets, their_sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        our_sockets.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(reader, writer, our_sockets), theirs, their_sockets

    async def send(self, message: ToWorker) -> None:
        """Send a message; waits while the worker is slow to read. Raises ChannelClosed."""
        payload = encoder.encode(message)
        if len(payload) > MAX_FRAME_BYTES:
            raise ValueError(f"a message of {len(payload)} bytes does not fit into a frame")
        if self._writer.is_closing():  # Writing on would be a RuntimeError under uvloop.
            raise ChannelClosed("the worker is gone")
        self._writer.write(len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload)
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelClosed("the worker is gone") from error

    async def receive(self) -> ToConsole:
        """The next message. Raises ChannelClosed at the end, also for a frame that cannot be understood."""
        try:
            size = int.from_bytes(await self._reader.readexactly(FRAME_HEADER_BYTES), "big")
            if size > MAX_FRAME_BYTES:
                raise ChannelClosed(f"the worker sent a frame of {size} bytes")
            return to_console_decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ChannelClosed("the worker is gone") from error
        except msgspec.MsgspecError as error:
            raise ChannelClosed(f"the worker sent what the contract does not know: {error}") from error

    async def pass_socket(self, description: ListenerSocket, listening: socket.socket) -> None:
        """Pass a listening socket (the console keeps its own handle). Raises ChannelClosed."""
        data = encoder.encode(description)
        async with self._passing:
            while True:
                try:
                    socket.send_fds(self._sockets, [data], [listening.fileno()])
                    return
                except (BlockingIOError, InterruptedError):
                    await self._writable()
                except OSError as error:
                    raise ChannelClosed("the worker is gone") from error

    def close(self) -> None:
        """Close both channels: the worker spools what it has and ends."""
        self._writer.close()
        self._sockets.close()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._sockets, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._sockets)
