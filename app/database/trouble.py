"""What keeps the database from being written, told by the driver's error: what people read, and nothing of the statement."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

_PRIMARY_CODE: Final = 0xFF
"""SQLite's extended codes hold the primary one in their lowest byte."""
_TROUBLE: Final = {
    sqlite3.SQLITE_FULL: "is full",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_IOERR: "reports errors",
    sqlite3.SQLITE_CANTOPEN: "cannot be reached",
    sqlite3.SQLITE_CORRUPT: "holds a damaged database",
    sqlite3.SQLITE_NOTADB: "holds a damaged database",
}


def disk_trouble_of(error: BaseException) -> str:
    """What the error says about the disk, as a predicate; empty where it says nothing about it."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    return _TROUBLE.get(code & _PRIMARY_CODE, "") if isinstance(code, int) else ""
