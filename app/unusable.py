"""Says in an operator's words why a file or directory cannot be used, and what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import SettingsError

try:
    import pwd
except ImportError:  # Windows has no such list; owners are numbers there, and always 0.
    pwd = None  # type: ignore[assignment]

MIN_FREE_BYTES_AT_START = 4 * 1024 * 1024
"""What a first start writes, with room for SQLite's log: it may be killed by the system where a page of its shared memory
finds no place on the disk, which no program can catch."""
MIN_FREE_BYTES = 1024 * 1024
"""A running console counts its disk as full with less."""
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def reason(error: OSError, path: Path) -> str:
    """Why `path` cannot be used, with the remedy: a clause and a full stop. Never raises."""
    if error.errno in _FULL:
        return "its disk is full. Make room there."
    if error.errno == errno.EROFS:
        return "its file system is read-only. Mount it for writing, or name a path elsewhere."
    if error.errno in _DENIED:
        return denied(path)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "there is something else than a directory on the way. Name another path."
    return f"{error.strerror or type(error).__name__}."


@contextmanager
def usable(setting: str, path: Path) -> Iterator[None]:
    """Turns what the system refuses within the block into a SettingsError with the reason. The error names the file."""
    try:
        yield
    except OSError as error:
        refused = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        raise SettingsError(setting, f"cannot use {refused}: {reason(error, refused)}") from error


def require_room(setting: str, directory: Path) -> None:
    """Raises SettingsError where the disk has too little room for a start."""
    if (trouble := disk_trouble(directory, MIN_FREE_BYTES_AT_START)) == "is full":
        needed = MIN_FREE_BYTES_AT_START // (1024 * 1024)
        raise SettingsError(setting, f"the disk of {directory} is full: a start needs {needed} MiB. Make room there.")
    if trouble:
        raise SettingsError(setting, f"the disk of {directory} {trouble}.")


def disk_trouble(directory: Path, min_free_bytes: int = MIN_FREE_BYTES) -> str:
    """Why nothing can be written to the disk of a directory, as a predicate; empty where nothing is known to be wrong."""
    if not hasattr(os, "statvfs"):
        return ""
    try:
        status = os.statvfs(directory)
    except OSError as error:
        return f"cannot be reached ({error.strerror})"
    if status.f_flag & os.ST_RDONLY:
        return "is read-only"
    has_inodes = not status.f_files or status.f_favail > 0
    return "" if has_inodes and status.f_bavail * status.f_frsize >= min_free_bytes else "is full"


def denied(path: Path) -> str:
    """Whose a path is that this process may not use, and what to do."""
    owned = _nearest(path)
    us, owner = (
        _name(os.geteuid() if hasattr(os, "geteuid") else 0),
        _name(owned.stat().st_uid) if owned is not None else "",
    )
    if not owner or owner == us:
        return f"{us}, as whom Ostiary runs, may not. Change the rights, or name another path."
    belongs = f"{'it' if owned == path else owned} belongs to {owner}, and Ostiary runs as {us}."
    if owned == path:
        return f"{belongs} Give it to {us} with all that is in it (chown -R), or name another path."
    return f"{belongs} Let {us} use it, or name another path."


def _nearest(path: Path) -> Path | None:
    """The path, or the lowest directory above it that can be looked at."""
    for candidate in (path, *path.parents):
        try:
            candidate.stat()
        except OSError:
            continue
        return candidate
    return None


def _name(user_id: int) -> str:
    if pwd is not None:
        try:
            return pwd.getpwuid(user_id).pw_name
        except KeyError:
            pass
    return f"user {user_id}"
