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


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_compiled_that_the_compiler_gets_wrong(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    # In coroutines of mypyc 2.4 an exception that was handled further in comes back behind a `finally` that awaits, and a
    # cancellation behind an `except` that awaits never ends.
    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree))
    # The variable of a handler has one type in a whole function.
    for function in ast.walk(tree):
        kinds: dict[str, set[str]] = {}
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
        assert all(len(types) == 1 for types in kinds.values()), f"{function} catches different errors by one name"
