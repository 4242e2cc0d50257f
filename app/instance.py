"""One console per data directory: an advisory lock on a file that holds the owner's pid."""

from __future__ import annotations

import os
from pathlib import Path

from app.paths import PRIVATE_FILE_MODE

_HELD: type[OSError] = OSError if os.name == "nt" else BlockingIOError
"""What says that somebody else holds the lock; anything else is the file's or the file system's own trouble."""


class AlreadyRunning(Exception):
    """Another console owns the data directory; `pid` is what it wrote into the lock file."""

    def __init__(self, directory: Path, pid: str) -> None:
        self.pid = pid
        super().__init__(
            f"The data directory {directory} is in use by another Ostiary (pid {pid or 'unknown'}). "
            "Stop that one first, or start this one with another --data-dir."
        )


class InstanceLock:
    """Held from before the database is touched until the process ends; the kernel frees it after any kind of death."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __repr__(self) -> str:
        return f"<InstanceLock {self._path} {'held' if self._descriptor is not None else 'free'}>"

    def acquire(self) -> None:
        """Take the lock and write the pid; raises AlreadyRunning, and OSError where the file cannot be used."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except _HELD as error:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise AlreadyRunning(self._path.parent, pid) from error
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, an empty one means that nobody holds it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> InstanceLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


if os.name == "nt":  # pragma: no cover - Windows locks a byte far behind the pid, so that the pid stays readable.
    import msvcrt

    LOCK_OFFSET_BYTES = 1 << 20

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, LOCK_OFFSET_BYTES, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
