"""Where things are: shipped resources (read only) and the operator's data directory (0700, files 0600)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PRIVATE_DIRECTORY_MODE = 0o700
PRIVATE_FILE_MODE = 0o600

RESOURCES = Path(getattr(sys, "_MEIPASS", Path(__file__).resolve().parent.parent))
"""Root of `web/`, `migrations/` and `rules/packs`: the checkout, or the directory a frozen executable unpacked."""

MIGRATIONS = RESOURCES / "migrations"
TEMPLATES = RESOURCES / "web" / "templates"
STATIC = RESOURCES / "web" / "static"


class DataDirectory:
    """The operator's directory: keys, database, spool, caches. Everything in it is for its owner's eyes only."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.keys = self.root / "keys"
        self.spool = self.root / "spool"
        self.cache = self.root / "cache"
        self.backups = self.root / "backups"
        self.database = self.root / "ostiary.db"
        self.lock = self.root / "ostiary.lock"
        self.marker = self.root / "initialised"
        """Exists once a database was made here: from then on a missing database is a fault, not a first start."""

    def __repr__(self) -> str:
        return f"<DataDirectory {self.root}>"

    def create(self) -> None:
        """Make the directories, closed to others whatever the umask; raises OSError when that is impossible."""
        for directory in (self.root, self.keys, self.spool, self.cache, self.backups):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(PRIVATE_DIRECTORY_MODE)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read; raises FileExistsError rather than overwrite."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
