"""The database at start: created, migrated with a copy kept, or refused and left alone."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from app.database import upgrade as module
from app.database.engine import database_path
from app.database.upgrade import DatabaseRefused, known_revisions, upgrade_database
from app.paths import MIGRATIONS, DataDirectory
from app.security.keys import Keys, KeysMissing
from app.settings import Settings
from app.startup import prepare

KEYS = Keys("an encryption secret", "a signing secret")
MOMENT = "2026-11-01 00:00:00.000000"


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def path(directory: DataDirectory) -> Path:
    """A database with the current schema."""
    upgrade_database(directory.database, directory, KEYS)
    return directory.database


@pytest.fixture
def newer_migrations(tmp_path: Path) -> Path:
    """Our migrations and one more, which adds a table and fails if `fail` is in it."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    _, head = known_revisions(copy)
    (copy / "versions" / "9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f'revision = "9999_next"\ndown_revision = "{head}"\n'
        "def upgrade():\n    op.create_table('novelty', sa.Column('id', sa.Integer(), primary_key=True))\n"
    )
    return copy


def content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return rows


def test_a_first_start_makes_a_private_database_and_a_second_changes_nothing(
    directory: DataDirectory, path: Path
) -> None:
    assert query(path, "SELECT version_num FROM alembic_version") == [(known_revisions(MIGRATIONS)[1],)]
    assert directory.marker.exists()
    before = query(path, "SELECT * FROM installation")
    upgrade_database(path, directory, KEYS)
    assert query(path, "SELECT * FROM installation") == before
    assert list(directory.backups.iterdir()) == []


def test_SEC_06_database_and_its_companions_are_private(directory: DataDirectory, path: Path) -> None:
    path.chmod(0o644)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE installation SET id = id")
        connection.commit()
        upgrade_database(path, directory, KEYS)
        for file in directory.root.glob("ostiary.db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_DUR_13_an_upgrade_keeps_a_private_copy_of_what_was(
    directory: DataDirectory, path: Path, newer_migrations: Path
) -> None:
    before = query(path, "SELECT * FROM installation")
    upgrade_database(path, directory, KEYS, newer_migrations)
    assert query(path, "SELECT count(*) FROM novelty") == [(0,)]
    assert query(path, "SELECT * FROM installation") == before
    (copy,) = directory.backups.iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert query(copy, "SELECT * FROM installation") == before
    assert query(copy, "SELECT name FROM sqlite_master WHERE name = 'novelty'") == []


def test_DUR_13_a_failed_upgrade_leaves_the_old_schema(
    directory: DataDirectory, path: Path, newer_migrations: Path
) -> None:
    with (newer_migrations / "versions" / "9999_next.py").open("a") as file:
        file.write("    raise RuntimeError('the power went out')\n")
    with pytest.raises(RuntimeError, match="the power went out"):
        upgrade_database(path, directory, KEYS, newer_migrations)
    assert query(path, "SELECT name FROM sqlite_master WHERE name = 'novelty'") == []
    upgrade_database(path, directory, KEYS)
    assert query(path, "SELECT version_num FROM alembic_version") == [(known_revisions(MIGRATIONS)[1],)]


def test_DUR_13_a_newer_schema_is_refused_and_left_alone(
    directory: DataDirectory, path: Path, newer_migrations: Path
) -> None:
    upgrade_database(path, directory, KEYS, newer_migrations)
    before = content(path)
    with pytest.raises(DatabaseRefused, match="newer Ostiary"):
        upgrade_database(path, directory, KEYS)
    assert content(path) == before


def test_only_the_newest_copies_are_kept(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKUPS_KEPT", 2)
    for number in range(4):
        (directory.backups / f"before-x-{number}.db").touch()
    (directory.backups / "made-by-hand.db").touch()
    module._prune(directory.backups)
    assert len(list(directory.backups.glob("before-*.db"))) == 2
    assert (directory.backups / "made-by-hand.db").exists()


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_DUR_09_a_vanished_database_is_never_replaced_by_an_empty_one(
    directory: DataDirectory, path: Path, damage: str
) -> None:
    path.unlink()
    if damage == "empty":
        path.touch()
    with pytest.raises(DatabaseRefused, match="missing or empty"):
        upgrade_database(path, directory, KEYS)
    assert not path.exists() or path.stat().st_size == 0


@pytest.mark.parametrize("damage", [b"this is not a database at all", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_DUR_09_an_unreadable_database_is_refused_and_left_alone(
    directory: DataDirectory, path: Path, damage: bytes
) -> None:
    path.write_bytes(damage)
    with pytest.raises(DatabaseRefused, match="cannot be read"):
        upgrade_database(path, directory, KEYS)
    assert path.read_bytes() == damage


def test_DUR_09_a_database_of_something_else_is_refused(directory: DataDirectory) -> None:
    query(directory.database, "CREATE TABLE recipes (id INTEGER)")
    with pytest.raises(DatabaseRefused, match="something else"):
        upgrade_database(directory.database, directory, KEYS)


def test_DUR_09_a_database_without_its_installation_is_refused(directory: DataDirectory, path: Path) -> None:
    query(path, "DELETE FROM installation")
    with pytest.raises(DatabaseRefused, match="incomplete"):
        upgrade_database(path, directory, KEYS)


def test_DUR_09_a_place_where_nothing_can_be_made_is_refused(directory: DataDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseRefused, match="cannot be made"):
        upgrade_database(tmp_path / "file" / "ostiary.db", directory, KEYS)


def test_SEC_04_a_wrong_key_is_refused_and_nothing_is_changed(directory: DataDirectory, path: Path) -> None:
    before = content(path)
    with pytest.raises(DatabaseRefused, match="encryption key is not the one"):
        upgrade_database(path, directory, Keys("another encryption secret", "a signing secret"))
    assert content(path) == before


def test_SEC_04_a_lost_key_file_refuses_to_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    directory = DataDirectory(settings.data_dir)
    directory.create()
    prepare(settings)
    before = content(database_path(settings, directory))
    (directory.keys / "encryption.key").unlink()
    with pytest.raises(KeysMissing, match="Restore the file"):
        prepare(settings)
    assert content(database_path(settings, directory)) == before
    assert not (directory.keys / "encryption.key").exists()


def test_two_newest_revisions_are_a_mistake_of_ours(newer_migrations: Path) -> None:
    versions = newer_migrations / "versions"
    text = (versions / "9999_next.py").read_text()
    (versions / "9998_fork.py").write_text(text.replace("9999_next", "9998_fork"))
    with pytest.raises(DatabaseRefused, match="2 newest revisions"):
        known_revisions(newer_migrations)


def test_a_table_that_is_copied_by_an_upgrade_keeps_its_rows_and_what_hangs_on_them(
    directory: DataDirectory, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (before / "versions").glob("*.py"):
        if file.stem >= "0013":
            file.unlink()
    path = directory.database
    upgrade_database(path, directory, KEYS, before)

    def insert(table: str, **given: object) -> None:
        """A row with something in every column that must have a value."""
        row: dict[str, object] = {}
        for _, name, kind, needed, *_ in query(path, f"PRAGMA table_info({table})"):
            if needed:
                row[str(name)] = {"JSON": "[]", "BOOLEAN": 0, "INTEGER": 0, "DATETIME": MOMENT}.get(str(kind), "x")
        row |= given
        names = ", ".join(row)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
            connection.commit()

    insert("proxies", id="prx_1", tenant_id="default", name_key="one")
    insert("mcp_entries", id="ent_1", proxy_id="prx_1", current_document=b"{}")
    insert("canaries", id="can_1", tenant_id="default", name="wiki")
    upgrade_database(path, directory, KEYS)
    assert query(path, "SELECT id, deleted_at FROM proxies") == [("prx_1", None)]
    assert query(path, "SELECT id, proxy_id FROM mcp_entries") == [("ent_1", "prx_1")]
    assert query(path, "SELECT id, deleted_at FROM canaries") == [("can_1", None)]
    assert query(path, "PRAGMA foreign_key_check") == []
    with pytest.raises(sqlite3.IntegrityError):
        insert("proxies", id="prx_2", tenant_id="default", name_key="one")
    query(path, "UPDATE proxies SET deleted_at = '2026-11-01 00:00:00.000000'")
    insert("proxies", id="prx_2", tenant_id="default", name_key="one")
