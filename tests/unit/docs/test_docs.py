"""The documentation says what is there: links lead somewhere, commands exist, decisions are numbered once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.version import __version__

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_the_commands_of_the_readme_exist_and_are_executable() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    commands = set(re.findall(r"scripts/([a-z]+)(?![a-z_.])", text))
    assert {"start", "test", "check", "bench", "build", "lock"} <= commands
    for command in commands:
        assert (ROOT / "scripts" / command).stat().st_mode & 0o111, command


def test_decisions_are_numbered_once_and_have_a_status() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [path.name[:4] for path in decisions]
    assert numbers == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert re.search(r"^Status: (accepted|superseded)", text, re.MULTILINE)


def test_the_version_is_written_in_one_place() -> None:
    assert re.fullmatch(r"\d{4}\.\d{1,2}\.\d+", __version__)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_modules_fit_on_a_few_screens() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("app", "proxies", "rules")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert too_long == {}


def test_the_plain_requirement_files_are_those_of_the_lock() -> None:
    """`scripts/lock` writes both; a dependency that is only in one of them would not be what was tested."""
    locked = {
        (package["name"], package["version"])
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        if package["name"] != "ostiary"
    }
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-build.lock"):
        pinned = set(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))
        assert pinned
        assert pinned <= locked, name
