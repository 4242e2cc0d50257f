"""Every setting and every command is documented under its real name, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from app.cli import COMMANDS
from app.settings import READERS, Settings

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip(" `"): cells
    for line in TEXT.split("## Commands")[0].splitlines()
    if line.startswith("| `") and (cells := line.strip("| ").split("|"))
}


def test_every_setting_is_documented_with_its_environment_variables() -> None:
    assert set(ROWS) == set(READERS)
    for name, (variables, _) in READERS.items():
        documented = set(re.findall(r"`([A-Za-z_]+)`", ROWS[name][1]))
        assert documented - {"DB_PATH", "DATABASE_PATH"} == set(variables), name


def test_documented_defaults_are_the_real_ones() -> None:
    settings = Settings()
    for name, cells in ROWS.items():
        shown = re.fullmatch(r"`(.+)`", cells[2].strip())
        if shown:
            value = getattr(settings, name)
            actual = f"{value:g}" if isinstance(value, float) else str(value)
            assert shown[1] == (actual.lower() if isinstance(value, bool) else actual), name


def test_every_command_is_documented() -> None:
    for command in COMMANDS:
        assert f"`ostiary {command}" in TEXT
