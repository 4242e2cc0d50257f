"""What is done to an installation from the command line while its console is stopped (or, where it only reads, running)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.accounts.service import Accounts
from app.audit.service import AuditLog
from app.database.engine import Database, database_path
from app.database.upgrade import DatabaseRefused, database_exists, unreadable
from app.instance import InstanceLock
from app.paths import DataDirectory
from app.security.keys import load_keys
from app.security.passwords import Passwords
from app.settings import Settings
from app.startup import prepare
from app.unusable import usable


def reset_password(settings: Settings, username: str, deliver: Callable[[str], None]) -> None:
    """Give an existing account a new one-time password, whoever has forgotten theirs, and end its sessions.

    Needs the data directory to itself. Raises AlreadyRunning, DatabaseRefused, or UserNotFound.
    """
    directory = _existing(settings)
    with contextlib.ExitStack() as held:
        with usable("data_dir", directory.root):
            held.enter_context(InstanceLock(directory.lock))
        _, keys = prepare(settings)

        async def reset() -> None:
            database = Database(database_path(settings, directory))
            try:
                await Accounts(database, Passwords(), AuditLog(keys.audit)).reset_password(username, deliver)
            finally:
                await database.close()

        asyncio.run(reset())


def verify_audit(settings: Settings) -> tuple[int, int | None]:
    """(entries checked, sequence of the first bad one or None); only reads, so a running console does not mind."""
    directory = _existing(settings)
    path = database_path(settings, directory)
    with usable("data_dir", directory.root):
        keys = load_keys(settings, directory, may_generate=False)

    async def verify() -> tuple[int, int | None]:
        database = Database(path)
        try:
            async with database.reader() as session:
                return await AuditLog(keys.audit).verify(session)
        finally:
            await database.close()

    try:
        return asyncio.run(verify())
    except SQLAlchemyError as error:
        raise unreadable(path, error) from error


def _existing(settings: Settings) -> DataDirectory:
    directory = DataDirectory(settings.data_dir)
    path = database_path(settings, directory)
    with usable("data_dir", directory.root):
        exists = database_exists(path, directory)
    if not exists:
        raise DatabaseRefused(f"There is no database at {path}. Name the data directory with --data-dir.")
    return directory
