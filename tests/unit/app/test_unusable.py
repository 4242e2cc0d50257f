"""What cannot be used is refused in one line that says why and what to do, and nothing is begun."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app import unusable
from app.database import upgrade
from app.database.trouble import disk_trouble_of
from app.paths import DataDirectory
from app.settings import Settings, SettingsError
from app.startup import prepare, serve
from app.unusable import denied, disk_trouble, reason, usable
from tests.unit.app.test_upgrade import KEYS


def refused(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "its disk is full. Make room there."),
        (errno.EDQUOT, "its disk is full. Make room there."),
        (errno.EROFS, "its file system is read-only."),
        (errno.EEXIST, "something else than a directory"),
        (errno.ENOTDIR, "something else than a directory"),
        (errno.EIO, "Input/output error."),
    ],
)
def test_an_error_of_the_system_has_a_remedy(tmp_path: Path, number: int, words: str) -> None:
    assert words in reason(refused(number, tmp_path), tmp_path)


def test_what_belongs_to_somebody_else_names_both_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)
    said = denied(tmp_path)
    assert "and Ostiary runs as user 123456. Give it to user 123456 with all that is in it (chown -R)" in said
    below = denied(tmp_path / "none" / "either")
    assert below.startswith(f"{tmp_path} belongs to ")
    assert "chown" not in below
    monkeypatch.undo()
    assert "may not. Change the rights" in denied(tmp_path)


def test_the_refused_file_is_named_and_not_the_directory_that_was_asked_for(tmp_path: Path) -> None:
    inner = tmp_path / "cache"
    wanted = f"^Setting data_dir: cannot use {re.escape(str(inner))}: its disk is full"
    with pytest.raises(SettingsError, match=wanted), usable("data_dir", tmp_path):
        raise refused(errno.ENOSPC, inner)


def test_a_disk_without_room_is_found_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unusable, "MIN_FREE_BYTES_AT_START", 1 << 62)
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    with pytest.raises(SettingsError, match=r"is full: a start needs .* MiB. Make room there."):
        prepare(Settings(data_dir=directory.root))
    assert not [path for path in directory.root.rglob("*") if path.is_file()]


def test_a_disk_that_cannot_be_looked_at_and_one_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk_trouble(tmp_path) == ""
    assert disk_trouble(tmp_path / "gone").startswith("cannot be reached")
    status = os.statvfs(tmp_path)
    for changes, wanted in (
        ({"f_bavail": 0}, "is full"),
        ({"f_favail": 0, "f_files": 10}, "is full"),
        ({"f_flag": os.ST_RDONLY}, "is read-only"),
    ):
        values = {name: getattr(status, name) for name in dir(status) if name.startswith("f_")} | changes
        monkeypatch.setattr(os, "statvfs", lambda _, values=values: type("Status", (), values))
        assert disk_trouble(tmp_path) == wanted
        monkeypatch.undo()


def test_a_lock_file_that_cannot_be_used_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "ostiary.lock").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"ostiary\.lock: Is a directory"):
        serve(Settings(data_dir=tmp_path / "data", port=0))
    assert not (tmp_path / "data" / "ostiary.db").exists()


@pytest.mark.parametrize("place", ["none/password", "file/password"])
def test_a_password_file_without_a_place_is_refused_before_there_is_an_account(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    with pytest.raises(SettingsError, match=r"admin_password_file: its directory .* does not exist"):
        prepare(Settings(data_dir=directory.root, admin_password_file=tmp_path / place))
    assert not directory.database.exists()
    assert not list(directory.keys.iterdir())


def test_DUR_13_a_copy_that_did_not_become_whole_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    upgrade.upgrade_database(directory.database, directory, KEYS)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise full

    monkeypatch.setattr(upgrade, "copy_database", half)
    monkeypatch.setattr(upgrade, "known_revisions", lambda _: ({upgrade._inspect(directory.database, KEYS)}, "next"))
    with pytest.raises(upgrade.DatabaseRefused, match=r"its disk is full. Make room there. It is as it was"):
        upgrade.upgrade_database(directory.database, directory, KEYS)
    assert not list(directory.backups.iterdir())


def test_a_driver_says_what_is_wrong_with_the_disk_and_nothing_of_the_statement() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    assert disk_trouble_of(OperationalError("INSERT", {"secret": "x"}, full)) == ""
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert disk_trouble_of(OperationalError("INSERT", {"secret": "x"}, full)) == "is full"
    full.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert disk_trouble_of(full) == "reports errors"
    full.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert disk_trouble_of(full) == ""
