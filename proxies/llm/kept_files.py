"""What was masked for a response, kept where every worker of this console finds it (DESIGN §6: AES-256-GCM at rest).

Whoever continues a response sends neither its texts nor their values again, and the next call may come to another worker, or
after this one has died. So each session is also a file, sealed with a key that only the workers are told: its name says
nothing, its content opens only for the same proxy, caller and response. Files live for as long as what is kept in memory.
What cannot be written or opened is as good as not kept: a placeholder then stays, and no value goes astray.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from proxies.llm.kept import MAX_KEPT, Key
from rules.masking.session import Masked, MaskingSession

logger = logging.getLogger(__name__)

SUFFIX: Final = ".sealed"
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all files together."""
MAX_FILE_BYTES: Final = 32 * 1024 * 1024
"""More than the largest session takes."""
TIDY_SECONDS: Final = 60.0
TIDY_BYTES: Final = 8 * 1024 * 1024
"""What is written before the directory is looked at out of turn."""
LOCK_SECONDS: Final = 2.0
"""How long a worker waits for the others, which hold the lock for milliseconds unless they were stopped."""
_LOCK_PAUSE_SECONDS: Final = 0.01
_NONCE_BYTES: Final = 12
_LOCK: Final = "lock"


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    placeholder: str
    label: str
    value: bytes
    rule_id: str


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    key: bytes
    entries: tuple[_Entry, ...]


_decoder: Final = msgspec.msgpack.Decoder(_Sealed)


class KeptFiles:
    """The sealed sessions in one directory. Its methods block, so they are called in threads."""

    def __init__(self, *, seconds: float) -> None:
        """Nothing is kept before `open`; then each file for so long."""
        self._seconds = seconds
        self._directory: Path | None = None
        self._tidy_at = 0.0
        self._written = 0
        self._is_failing = False

    def __repr__(self) -> str:
        return f"<KeptFiles {self._directory}>"

    def open(self, directory: Path | None) -> None:
        """Keep the files here from now on; nowhere without a directory."""
        self._directory = directory

    @property
    def is_open(self) -> bool:
        """Whether anything is kept."""
        return self._directory is not None

    def keep(self, master: bytes, key: Key, session: MaskingSession) -> None:
        """Keep a session, with what other workers have masked for the same response or conversation."""
        directory = self._directory
        if directory is None or not master:
            return
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone(directory):
                if (before := self._read(directory, master, key)) is not None:
                    session.take_in(before.values())
                self._written += self._write(directory, master, key, session)
            if self._written > TIDY_BYTES:
                self._tidy(directory)
        except OSError as error:
            if not self._is_failing:
                logger.warning("what was masked for a response is known to this worker only: %s", error.strerror)
            self._is_failing = True
        else:
            self._is_failing = False

    def find(self, master: bytes, key: Key) -> MaskingSession | None:
        """What any worker has kept under this key, if it is not too old."""
        if self._directory is None or not master:
            return None
        try:
            return self._read(self._directory, master, key)
        except OSError as error:
            logger.warning("what was masked for a response cannot be read: %s", error.strerror)
            return None

    @property
    def is_untidy(self) -> bool:
        """Whether it is time to call `tidy`."""
        return self.is_open and time.monotonic() >= self._tidy_at

    def tidy(self) -> None:
        """Delete what is too old, and the oldest beyond the bounds."""
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        if self._directory is not None and self._directory.is_dir():
            try:
                self._tidy(self._directory)
            except OSError as error:
                logger.warning("what was masked for responses cannot be tidied up: %s", error.strerror)

    def _read(self, directory: Path, master: bytes, key: Key) -> MaskingSession | None:
        name = _name(master, key)
        try:
            descriptor = os.open(directory / (name + SUFFIX), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(file.fileno()).st_mtime + self._seconds <= time.time():
                return None
            data = file.read(MAX_FILE_BYTES)
        return _opened(master, name, data)

    def _write(self, directory: Path, master: bytes, key: Key, session: MaskingSession) -> int:
        name = _name(master, key)
        data = _sealed(master, name, session)
        unfinished = directory / f".{name}-{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
                file.write(data)
            unfinished.replace(directory / (name + SUFFIX))
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return len(data)

    @contextmanager
    def _alone(self, directory: Path) -> Iterator[None]:
        """No other thread or worker changes a file meanwhile; raises OSError where one of them does not come to an end."""
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _tidy(self, directory: Path) -> None:
        self._written = 0
        now = time.time()
        files: list[tuple[float, int, str]] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name != _LOCK:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # Another worker tidies up as well.
                    files.append((status.st_mtime, status.st_size, entry.path))
        files.sort(reverse=True)
        size = 0
        for count, (changed_at, length, path) in enumerate(files, 1):
            size += length
            if changed_at + self._seconds <= now or count > MAX_KEPT or size > MAX_BYTES:
                Path(path).unlink(missing_ok=True)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return


def _sealing_key(master: bytes) -> bytes:
    return hashlib.blake2b(b"ostiary kept sessions", key=hashlib.sha256(master).digest(), digest_size=32).digest()


def _name(master: bytes, key: Key) -> str:
    """What a file is called: the same in every worker, and nobody can tell from it what it is about."""
    parts = [part.encode("utf-8", "replace") for part in key]
    message = b"".join([len(data).to_bytes(4) + data for data in parts])
    return hashlib.blake2b(message, key=_sealing_key(master), digest_size=20).hexdigest()


def _sealed(master: bytes, name: str, session: MaskingSession) -> bytes:
    # Imported late: most workers never keep a session.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    entries = tuple(
        [
            _Entry(one.placeholder, one.label, one.value.encode("utf-8", "surrogatepass"), one.rule_id)
            for one in session.values()
        ]
    )
    nonce = os.urandom(_NONCE_BYTES)
    data = msgspec.msgpack.encode(_Sealed(session.key, entries))
    return nonce + AESGCM(_sealing_key(master)).encrypt(nonce, data, name.encode())


def _opened(master: bytes, name: str, data: bytes) -> MaskingSession | None:
    """The session in a file; None for one that was changed, moved or sealed with another key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        plain = AESGCM(_sealing_key(master)).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], name.encode())
        sealed = _decoder.decode(plain)
        masked = [
            Masked(one.placeholder, one.label, one.value.decode("utf-8", "surrogatepass"), one.rule_id)
            for one in sealed.entries
        ]
    except (InvalidTag, ValueError, msgspec.MsgspecError):
        logger.warning("what was masked for a response cannot be opened and is left out")
        return None
    return MaskingSession.of(sealed.key, masked)
