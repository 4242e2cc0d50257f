"""Spool files of workers that could not deliver: read, ingest, delete. `proxies/spool.py` describes the format."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from proxies.contract import (
    CONTRACT_VERSION,
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    CallRecord,
    Spool,
    encoder,
    spool_decoder,
)

logger = logging.getLogger(__name__)

PATTERN = "*.spool"
DAMAGED_SUFFIX = ".damaged"
REFUSED_SUFFIX = ".refused"
CALLS_PER_INGEST = 500

Ingest = Callable[[Sequence[CallRecord]], Awaitable[None]]


class SpoolContent(msgspec.Struct, frozen=True):
    """What a spool file holds."""

    calls: tuple[CallRecord, ...]
    torn: bool
    """The last frame is incomplete: its writer died while writing, and nothing in it had been promised."""
    damage: str
    """Why reading stopped early; empty for a sound file."""


def parse(data: bytes) -> SpoolContent:
    """Cut a spool file into calls, as far as it can be believed. Pure."""
    calls: list[CallRecord] = []
    position = 0
    while position < len(data):
        start = position + FRAME_HEADER_BYTES
        size = int.from_bytes(data[position:start], "big")
        if len(data) < start or (len(data) < start + size and size <= MAX_FRAME_BYTES):
            return SpoolContent(tuple(calls), torn=True, damage="")
        if size > MAX_FRAME_BYTES:
            return SpoolContent(tuple(calls), torn=False, damage=f"a frame of {size} bytes at offset {position}")
        try:
            spool = spool_decoder.decode(data[start : start + size])
        except msgspec.MsgspecError as error:
            return SpoolContent(tuple(calls), torn=False, damage=f"the frame at offset {position}: {error}")
        if spool.contract_version != CONTRACT_VERSION:
            damage = f"version {spool.contract_version} of the contract, not {CONTRACT_VERSION}"
            return SpoolContent(tuple(calls), torn=False, damage=damage)
        calls += spool.calls
        position = start + size
    return SpoolContent(tuple(calls), torn=False, damage="")


async def ingest_directory(directory: Path, ingest: Ingest) -> int:
    """Ingest every spool file whose writer is gone, and delete it; returns the number of calls.

    A damaged file is moved aside and reported. When `ingest` raises, the file stays for the next time.
    """
    count = 0
    for path in _spool_files(directory):
        count += await _ingest_file(path, ingest)
    return count


async def _ingest_file(path: Path, ingest: Ingest) -> int:
    descriptor = _lock(path)
    if descriptor is None:
        return 0
    try:
        content = parse(await asyncio.to_thread(_read, descriptor))
        for start in range(0, len(content.calls), CALLS_PER_INGEST):
            await ingest(content.calls[start : start + CALLS_PER_INGEST])
        _dispose(path, content)
    finally:
        os.close(descriptor)
    return len(content.calls)


def _spool_files(directory: Path) -> list[Path]:
    return sorted(directory.glob(PATTERN))


def _lock(path: Path) -> int | None:
    """A descriptor of the file, locked; None while a worker is still writing it and when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        logger.error("the spool file %s cannot be read: %s", path.name, error.strerror)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def _dispose(path: Path, content: SpoolContent) -> None:
    """Delete a file whose calls are committed; keep a damaged one under another name."""
    if content.damage:
        kept = path.with_name(path.name + DAMAGED_SUFFIX)
        path.rename(kept)
        logger.error(
            "the spool file %s is damaged (%s): %d calls were recovered, the file is kept as %s",
            path.name,
            content.damage,
            len(content.calls),
            kept.name,
        )
        return
    path.unlink()
    if content.torn:
        logger.warning("the last frame of the spool file %s is incomplete and left out", path.name)
    if content.calls:
        logger.info("%d calls were recovered from the spool file %s", len(content.calls), path.name)


def set_aside(directory: Path, name: str, calls: Sequence[CallRecord]) -> Path:
    """Keep calls that the database refuses again and again, so that they do not stop the others. Raises OSError."""
    payload = encoder.encode(Spool(contract_version=CONTRACT_VERSION, calls=tuple(calls)))
    path = directory / f"{name}{REFUSED_SUFFIX}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload)
        file.flush()
        os.fsync(file.fileno())
    return path
