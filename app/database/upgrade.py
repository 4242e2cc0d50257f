"""Brings the database to this version's schema at start, or refuses to start and leaves it untouched.

Order: is the file what it should be → is its schema known → is the encryption key the one it was made with → copy the
file → migrate in one transaction. A file that is missing from an initialised data directory, unreadable, newer than
this program or sealed with another key is refused; it is never replaced by a fresh one (DUR-09, DUR-13, SEC-04).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from app.clock import utcnow
from app.ids import new_id
from app.paths import MIGRATIONS, PRIVATE_FILE_MODE, DataDirectory, write_private
from app.security.keys import Keys
from app.unusable import denied, reason

BUSY_TIMEOUT_SECONDS = 10.0
BACKUPS_KEPT = 5
REVISION = re.compile(r'^(down_revision|revision)\b[^=]*=\s*(?:"([^"]+)"|None)', re.MULTILINE)


class DatabaseRefused(Exception):
    """The database cannot be used; the message says why and what to do. Nothing was changed."""


def database_exists(path: Path, directory: DataDirectory) -> bool:
    """Whether there is a database; raises DatabaseRefused when there was one and it is gone."""
    if path.exists() and path.stat().st_size > 0:
        return True
    if directory.marker.exists():
        raise DatabaseRefused(
            f"The database {path} is missing or empty, but {directory.root} has been used before. Restore it from "
            f"{directory.backups}, or start with a new data directory; an empty one is never put in its place."
        )
    return False


def upgrade_database(path: Path, directory: DataDirectory, keys: Keys, migrations: Path = MIGRATIONS) -> None:
    """Create or migrate the database and check its key. The caller holds the instance lock. Raises DatabaseRefused."""
    exists = database_exists(path, directory)
    known, head = known_revisions(migrations)
    current = _inspect(path, keys) if exists else None
    if current is not None and current not in known:
        raise DatabaseRefused(
            f"The database {path} has the schema {current}, which this version does not know: it was used with a newer "
            "Ostiary. Start that version, or restore a copy from before the upgrade."
        )
    if current != head:
        if not exists:
            _create_private(path)
        elif current is not None:
            _keep_copy(path, directory.backups / f"before-{head}-{utcnow():%Y%m%dT%H%M%S%f}.db")
        try:
            _migrate(path, keys, migrations)
        except DBAPIError as error:
            raise DatabaseRefused(
                f"The database {path} cannot be brought to this version's schema: {_driver_word(error.orig)} It is as it was."
            ) from error
    if not directory.marker.exists():
        write_private(directory.marker, f"{path}\n".encode())
    _close_to_others(path)


def known_revisions(migrations: Path) -> tuple[set[str], str]:
    """All revisions and the newest, read from the files' own text: Alembic itself takes a second to import."""
    parents: dict[str, str | None] = {}
    for file in sorted((migrations / "versions").glob("*.py")):
        found = {name: value or None for name, value in REVISION.findall(file.read_text(encoding="utf-8"))}
        if found.get("revision"):
            parents[str(found["revision"])] = found.get("down_revision")
    heads = set(parents) - set(parents.values())
    if len(heads) != 1:
        raise DatabaseRefused(f"The migrations have {len(heads)} newest revisions instead of one.")
    return set(parents), heads.pop()


def copy_database(source: Path, target: Path) -> None:
    """Copy a database, consistent even while it is written to, into a new file that only its owner can read."""
    write_private(target, b"")
    with (
        contextlib.closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_SECONDS)) as origin,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        origin.backup(copy)


def _keep_copy(path: Path, target: Path) -> None:
    """Copy the database before it is changed. What is not whole does not stay: somebody might restore it."""
    try:
        copy_database(path, target)
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise DatabaseRefused(
            f"The database {path} cannot be copied to {target.parent} before its schema changes: {_driver_word(error)} "
            "It is as it was."
        ) from error
    _prune(target.parent)


def unreadable(path: Path, error: Exception) -> DatabaseRefused:
    """Why a database that exists cannot be opened, in an operator's words."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    # SQLite says only that it could not. Whose the files are, the system knows; also readers write to both companions.
    for file in (path.parent, path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return DatabaseRefused(f"The database {path} cannot be used: {denied(file)}")
    return DatabaseRefused(f"The database {path} cannot be read: {_driver_word(original)}")


def _driver_word(error: BaseException | None) -> str:
    """What SQLite or the system says, with a remedy where there is one."""
    if isinstance(error, OSError):
        return reason(error, Path(os.fsdecode(error.filename or "")))
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "its disk is full. Make room there."
    return f"{error}."


def key_check(keys: Keys, installation_id: str) -> str:
    """What proves, without revealing anything, that a database was made with these keys."""
    return hmac.new(keys.key_check, installation_id.encode(), hashlib.sha256).hexdigest()


def _inspect(path: Path, keys: Keys) -> str | None:
    """The schema of an existing database, after its key was checked."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if "alembic_version" not in tables or "installation" not in tables:
                raise DatabaseRefused(f"{path} is a database of something else.")
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            installation = connection.execute("SELECT id, key_check FROM installation").fetchone()
            connection.execute("PRAGMA user_version")
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    if installation is None or revision is None:
        raise DatabaseRefused(f"The database {path} is incomplete.")
    if not hmac.compare_digest(installation[1], key_check(keys, installation[0])):
        raise DatabaseRefused(
            f"The encryption key is not the one that the database {path} was made with. Restore encryption.key "
            "(or ENCRYPTION_KEY) from your backup; with another key its secrets stay unreadable."
        )
    return str(revision[0])


def _migrate(path: Path, keys: Keys, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.engine import URL

    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def no_implicit_begin(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if connection.execute(text("SELECT count(*) FROM installation")).scalar_one() == 0:
                installation_id = new_id("ins")
                connection.execute(
                    text("INSERT INTO installation (id, key_check, created_at) VALUES (:id, :check, :at)"),
                    {
                        "id": installation_id,
                        "check": key_check(keys, installation_id),
                        "at": utcnow().replace(tzinfo=None).isoformat(" "),
                    },
                )
            connection.commit()
    finally:
        engine.dispose()


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE_FILE_MODE))
    except OSError as error:
        raise DatabaseRefused(f"The database {path} cannot be made: {error.strerror}.") from error


def _close_to_others(path: Path) -> None:
    # SQLite gives -wal and -shm the mode of the database file, so closing this one closes those as well.
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(FileNotFoundError):
            file.chmod(PRIVATE_FILE_MODE)


def _prune(backups: Path) -> None:
    copies = sorted(backups.glob("before-*.db"), key=lambda file: file.stat().st_mtime)
    for copy in copies[:-BACKUPS_KEPT]:
        copy.unlink()
