"""The list of compiled modules, and what the compiler would change without a word."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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


def test_what_derives_from_a_compiled_class_is_compiled_too() -> None:
    classes = {
        (name.removesuffix(".py").replace("/", "."), node.name)
        for name in MODULES
        for node in ast.parse((ROOT / name).read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    others = {str(path.relative_to(ROOT)) for folder in ("proxies", "rules") for path in (ROOT / folder).rglob("*.py")}
    wrong: list[str] = []
    for name in sorted(others.difference(MODULES)):
        tree = ast.parse((ROOT / name).read_text())
        imported = {
            one.asname or one.name: (node.module, one.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for one in node.names
        }
        bases = {ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}
        wrong += [f"{name}: {base}" for base in sorted(bases) if imported.get(base) in classes]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_compiled_that_the_compiler_gets_wrong(name: str) -> None:
    for function in ast.walk(ast.parse((ROOT / name).read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        own = list(_own_nodes(function.body))
        kinds: dict[str, set[str]] = {}
        for node in own:
            if isinstance(node, ast.Try):
                # mypyc 2.4: an exception that was handled further in comes back behind a `finally` that waits, and a cancellation
                # behind an `except` that waits never ends.
                assert not any(map(_waits, _own_nodes(node.finalbody))), f"{function.name} waits in a `finally`"
            if isinstance(node, ast.ExceptHandler):
                assert not any(map(_waits, _own_nodes(node.body))), f"{function.name} waits in an `except`"
                if node.name and node.type:
                    kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
            if isinstance(node, ast.AsyncWith):
                # Its end runs as such a handler. That of a time limit never waits.
                entered = {ast.unparse(item.context_expr).partition("(")[0] for item in node.items}
                assert entered <= {"asyncio.timeout", "asyncio.timeout_at"}, f"{function.name} enters {entered}"
        # The variable of a handler has one type in a whole function.
        assert all(len(types) == 1 for types in kinds.values()), f"{function.name} catches different errors by one name"
        if isinstance(function, ast.AsyncFunctionDef):
            assert not any(isinstance(node, ast.Yield) for node in own), f"{function.name} is an asynchronous generator"


def _waits(node: ast.AST) -> bool:
    return isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)


def _own_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes of a function's body but those of functions within."""
    rest: list[ast.AST] = list(body)
    while rest:
        node = rest.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            rest.extend(ast.iter_child_nodes(node))
