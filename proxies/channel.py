"""The worker's end of the message channel: length-prefixed MessagePack frames on a non-blocking Unix socket.

No stream abstraction sits in between, because `send` must be able to say whether the kernel has the whole frame *now*:
what the kernel has survives the death of this process, and the record of a blocked call has to be there before the
client sees its 403.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import msgspec

from proxies.contract import FRAME_HEADER_BYTES, MAX_FRAME_BYTES, ToConsole, ToWorker, encoder, to_worker_decoder

logger = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
MAX_BACKLOG_BYTES = MAX_FRAME_BYTES
"""Bound of what waits for a console that does not read. The journal stops long before; this is for everything else."""


class FrameError(ValueError):
    """The other side sent something that is no frame of the contract."""


class FrameReader:
    """Cuts a byte stream into frames. Sans-I/O."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are complete now; raises FrameError for a frame beyond the bound."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= FRAME_HEADER_BYTES:
            size = int.from_bytes(buffer[start : start + FRAME_HEADER_BYTES], "big")
            if size > self._max_frame_bytes:
                raise FrameError(f"a frame of {size} bytes; {self._max_frame_bytes} are allowed")
            end = start + FRAME_HEADER_BYTES + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + FRAME_HEADER_BYTES : end]))
            start = end
        del buffer[:start]
        return frames


class Channel:
    """Frames to and from the console.

    `on_message` gets every message in order, `on_writable` is called when a backlog has gone out, and `on_closed` once,
    with the reason, when the console is gone or unintelligible. All three are called from the event loop.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: Callable[[ToWorker], None],
        on_writable: Callable[[], None],
        on_closed: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_message = on_message
        self._on_writable = on_writable
        self._on_closed = on_closed
        self._reader = FrameReader()
        self._backlog = bytearray()
        self._loop = asyncio.get_running_loop()
        self.closed = False
        self._loop.add_reader(sock, self._receive)

    def __repr__(self) -> str:
        return f"<Channel {'closed' if self.closed else 'open'} backlog={len(self._backlog)}>"

    @property
    def blocked(self) -> bool:
        """Whether something still waits for the kernel to take it."""
        return bool(self._backlog)

    def send(self, message: ToConsole) -> bool:
        """Queue a message; True when the kernel has all of it already. A closed channel takes nothing."""
        return self.send_encoded(encoder.encode(message))

    def send_encoded(self, payload: bytes) -> bool:
        """`send` for a message that is MessagePack already."""
        if self.closed:
            return False
        if len(payload) > MAX_FRAME_BYTES or len(self._backlog) + len(payload) > MAX_BACKLOG_BYTES:
            logger.error("a message of %d bytes does not fit into the channel", len(payload))
            return False
        frame = len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload
        if self._backlog:
            self._backlog += frame
            return False
        sent = self._write(frame)
        if sent < len(frame) and not self.closed:
            self._backlog += frame[sent:]
            self._loop.add_writer(self._socket, self._continue)
        return sent == len(frame)

    def close(self, reason: str = "") -> None:
        """Close the socket; a reason is reported to `on_closed`, once."""
        if self.closed:
            return
        self.closed = True
        self._backlog.clear()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        if reason:
            self._on_closed(reason)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.close(f"the console is gone ({error.strerror})")
            return 0

    def _continue(self) -> None:
        del self._backlog[: self._write(self._backlog)]
        if not self._backlog and not self.closed:
            self._loop.remove_writer(self._socket)
            self._on_writable()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"the console is gone ({error.strerror})")
            return
        if not data:
            self.close("the console is gone")
            return
        try:
            for payload in self._reader.feed(data):
                self._on_message(to_worker_decoder.decode(payload))
        except (FrameError, msgspec.MsgspecError) as unknown:
            logger.error("the console sent what the contract does not know: %s", unknown)
            self.close("the console is unintelligible")
