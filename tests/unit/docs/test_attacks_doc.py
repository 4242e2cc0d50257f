"""The table of attacks names tests that exist, and every row has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "attacks.md"


def names_of_tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def rows() -> list[list[str]]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines if not line.startswith("| Attack")]


def test_every_attack_names_tests_that_exist() -> None:
    existing = names_of_tests()
    assert len(rows()) > 40
    for attack, answer, tests in rows():
        named = re.findall(r"`(test_\w+)`", tests)
        assert answer, attack
        assert named, attack
        assert set(named) - existing == set(), attack
