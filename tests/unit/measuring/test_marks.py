"""Marks say of a program what coverage.py says that has traced it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.console import ROOT
from tests.support.measured import unmeasured_environment

PROGRAM = '''"""Each kind of statement, with ways that are taken and ways that are not."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from functools import cache


class Kept:
    """With a docstring."""

    value: int = 3
    """And one for a field."""

    __private = 4

    @property
    def both(self) -> int:
        return self.value + self.__private


class Unlucky(Exception):
    """Nothing else."""


@cache
def ways(number: int) -> str:
    """The branches of conditions."""
    if number > 5:
        return "large"
    elif number < 0:
        return "negative"
    if number == 1:
        number += 1
    for item in range(number):
        if item == 2:
            continue
        if item == 7:
            break
    else:
        number += 10
    while number < 12:
        number += 1
    while True:
        if number:
            break
    return "small" if number else "none"


def kinds(thing: object) -> str:
    match thing:
        case int() if thing > 3:
            return "number"
        case [first, *_]:
            return str(first)
        case str(text):
            pass
    match thing:
        case "a":
            return "A"
        case _:
            return "other"


def falls(how: int) -> str:
    try:
        if how == 1:
            raise Unlucky("one")
        if how == 2:
            raise KeyError("two")
    except Unlucky:
        return "unlucky"
    except KeyError:
        return "key"
    except ValueError:
        return "never"
    else:
        how = 9
    finally:
        how += 1
    with suppress(ValueError), within() as given:
        if given:
            raise ValueError(
                "over "
                "several lines"
            )
    return (
        "fell"
    )


@contextmanager
def within():
    global entered
    entered = 1
    try:
        yield entered
    finally:
        del entered


def counted():
    count = 0

    def more() -> None:
        nonlocal count
        count += 1

    more()
    yield count
    yield from (item for item in [1, 2] if item)


async def waits() -> None:
    async def items():
        yield 1

    async for item in items():
        if not item:
            await asyncio.sleep(0)
    async with asyncio.Lock():
        pass


def never() -> None:
    if ways(1):
        assert kinds(1)
    else:
        del PRIVATE


if __name__ == "__main__":
    ways(1), ways(9), ways(4)
    kinds(5), kinds([1]), kinds("a")
    falls(0), falls(1), falls(2)
    list(counted()), Kept().both
    asyncio.run(waits())
'''


def report(directory: Path) -> dict[str, Any]:
    """Per file, what ran: from `.coverage` in this directory."""
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "said.json"]
    subprocess.run(command, cwd=directory, env=unmeasured_environment(), check=True)
    files = json.loads((directory / "said.json").read_text())["files"]
    told = ("executed_lines", "missing_lines", "executed_branches", "missing_branches")
    return {name: {what: sorted(file[what]) for what in told} for name, file in files.items()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with our settings, what measures, and a package that holds the program and a module that nobody imports."""
    for package in ("app", "proxies", "rules"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "app" / "program.py").write_text(PROGRAM)
    (tmp_path / "app" / "unused.py").write_text("import os\nos.abort()\n")
    for part in ("tests/measuring", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_marks_report_what_tracing_reports(tree: Path) -> None:
    plain = unmeasured_environment() | {"PYTHONPATH": ""}
    traced = [sys.executable, "-m", "coverage", "run", "-m", "app.program"]
    subprocess.run(traced, cwd=tree, env=plain, check=True)
    expected = report(tree)
    left = tree / "left"
    (left / "code").mkdir(parents=True)
    measuring = {"COVERAGE_MARKS": str(left), "PYTHONPATH": f"{tree}/tests/measuring{os.pathsep}{tree}"}
    for _ in range(2):  # The second finds the marked module compiled.
        subprocess.run([sys.executable, "-m", "app.program"], cwd=tree, env=plain | measuring, check=True)
    gate = [sys.executable, "scripts/coverage_gate.py", str(left)]
    gated = subprocess.run(gate, cwd=tree, env=plain, capture_output=True, text=True, check=False)
    assert gated.returncode != 0  # The program leaves out too much of itself.
    assert "coverage of app/*" in gated.stdout
    assert "total of" in gated.stdout
    assert len(list(left.glob("*.marks"))) == 2
    found = report(tree)
    assert found["app/program.py"]["missing_branches"]
    assert found == expected
