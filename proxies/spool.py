"""Calls on disk: what could not be delivered over the channel waits here for the console.

A spool file is a sequence of frames (4 bytes big-endian length, then a MessagePack `contract.Spool`), so that it can
grow without being rewritten. The writer holds an exclusive `flock` while the file is open: a file whose lock can be
taken has no writer any more, whatever became of it. The console reads such files, ingests them (idempotently, by call
id) and deletes them. A frame that was torn by the death of the writer is the last one and is never half believed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from proxies.contract import CONTRACT_VERSION, FRAME_HEADER_BYTES, encoder
from proxies.encoded import EncodedSpool

SUFFIX = ".spool"
MAX_FILE_BYTES = 256 * 1024 * 1024
FRAME_BYTES = 1024 * 1024
"""A frame is closed when its calls reach this size."""


class SpoolFull(OSError):
    """The spool file has reached its bound."""


class SpoolFile:
    """One growing spool file; it appears with the first call and is complete after `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1
        self._size = 0

    def __repr__(self) -> str:
        return f"<SpoolFile {self._size} bytes>"

    @property
    def open(self) -> bool:
        """Whether a file is being written."""
        return self._descriptor >= 0

    def append(self, calls: Iterable[bytes]) -> None:
        """Write encoded `CallRecord`s; they are the kernel's when this returns.

        Raises OSError and leaves no half frame behind; frames before the failed one stay, so calls may come twice.
        """
        frame: list[msgspec.Raw] = []
        size = 0
        for call in calls:
            frame.append(msgspec.Raw(call))
            size += len(call)
            if size >= FRAME_BYTES:
                self._append_frame(frame)
                frame, size = [], 0
        if frame:
            self._append_frame(frame)

    def close(self) -> None:
        """Make the file durable (fsync of file and directory) and hand it over; does nothing when there is none."""
        if not self.open:
            return
        descriptor, self._descriptor, self._size = self._descriptor, -1, 0
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _append_frame(self, calls: list[msgspec.Raw]) -> None:
        payload = encoder.encode(EncodedSpool(contract_version=CONTRACT_VERSION, calls=calls))
        frame = len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload
        if self._size + len(frame) > MAX_FILE_BYTES:
            raise SpoolFull(f"the spool file has reached {MAX_FILE_BYTES} bytes")
        if not self.open:
            self._create()
        try:
            _write_all(self._descriptor, frame)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(frame)

    def _create(self) -> None:
        path = self._directory / f"worker-{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
