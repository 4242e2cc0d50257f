"""The migrations make exactly the tables that the models describe, up and down (pytest-alembic)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from pytest_alembic.config import Config
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import Engine, create_engine

from app.database.upgrade import known_revisions
from app.paths import MIGRATIONS

__all__ = [
    "test_model_definitions_match_ddl",
    "test_single_head_revision",
    "test_up_down_consistency",
    "test_upgrade",
]


@pytest.fixture
def alembic_config() -> Config:
    return Config(config_options={"script_location": str(MIGRATIONS)})


@pytest.fixture
def alembic_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    yield engine
    engine.dispose()


def test_revisions_read_from_the_files_are_those_that_alembic_sees() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    known, head = known_revisions(MIGRATIONS)
    assert known == {revision.revision for revision in script.walk_revisions()}
    assert [head] == script.get_heads()
