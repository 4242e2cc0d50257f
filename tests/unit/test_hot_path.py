"""The list of compiled modules, and what the compiler would change without a word."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from proxies.frozen import Frozen

ROOT = Path(__file__).parents[2]
MODULES = (ROOT / "packaging" / "hot_path.txt").read_text().split()


def test_the_list_names_each_module_once_in_order() -> None:
    assert sorted(set(MODULES)) == MODULES
    assert [name for name in MODULES if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_option_of_a_class_is_lost_when_its_module_is_compiled(name: str) -> None:
    # mypyc drops the keywords of a class statement, and keeps no types by which msgspec could decode.
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            assert "msgspec.Struct" not in bases, f"{node.name} belongs on {Frozen.__name__} or in a module of its own"
            assert not node.keywords or "Frozen" in bases, f"{node.name} loses its options"
