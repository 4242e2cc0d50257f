"""Modules that note which of their statements ran: a mark stands before each and at the beginning of each branch.

A mark is one item of a list that is set. That costs a tenth of what a trace function costs before Python 3.14, whose
presence makes the interpreter slow in all code, measured or not (docs/adr/0020).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import pairwise

NAME = "_coverage_marks"
"""The list of marks, among a module's globals."""
ENTRY = -1
"""Where an arc to a line comes from when it does not matter."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a mark that is set says."""

    arcs: tuple[tuple[int, int], ...] = ()
    """From which line the program went to which."""
    not_taken: tuple[int, int] | None = None
    """The line of a condition, and the line that it did not go to."""


def marked(source: bytes, path: str) -> tuple[ast.Module, list[Place]]:
    """A module's syntax tree with its marks, and what each of them says."""
    tree = ast.parse(source, path)
    marker = _Marker()
    head = [statement for statement in tree.body[:2] if _stands_first(statement)]
    rest = [*marker.after(head), *marker.block(tree.body[len(head) :])]
    tree.body = [*head, _assigned_list(path, len(marker.places)), *rest]
    return ast.fix_missing_locations(tree), marker.places


def _stands_first(statement: ast.stmt) -> bool:
    return _is_text(statement) or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _assigned_list(path: str, count: int) -> ast.stmt:
    return ast.parse(f"{NAME} = __import__('marked_modules').marks_of({path!r}, {count})").body[0]


class _Marker:
    def __init__(self) -> None:
        self.places: list[Place] = []

    def block(self, body: list[ast.stmt], entered: Place | None = None) -> list[ast.stmt]:
        """The statements with a mark before each, and before them one that says that the block was entered."""
        found = [self._mark(entered, body[0] if body else None)] if entered else []
        for statement in body:
            found.append(self._mark(_reached(statement), statement))
            self._inside(statement)
            found.append(statement)
        return found

    def after(self, head: list[ast.stmt]) -> list[ast.stmt]:
        """Marks for statements before which none may stand."""
        return [self._mark(_reached(statement), statement) for statement in head]

    def _scope(self, body: list[ast.stmt]) -> list[ast.stmt]:
        documented = [body[0]] if _is_text(body[0]) else []
        return [*documented, *self.after(documented), *self.block(body[len(documented) :])]

    def _mark(self, place: Place, near: ast.stmt | None) -> ast.stmt:
        number = len(self.places)
        self.places.append(place)
        target = ast.Subscript(ast.Name(NAME, ast.Load()), ast.Constant(number), ast.Store())
        mark = ast.Assign([target], ast.Constant(1))
        return ast.copy_location(mark, near) if near else mark

    def _inside(self, statement: ast.stmt) -> None:
        match statement:
            case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
                self._branches(statement)
            case ast.Match():
                self._cases(statement)
            case ast.Try() | ast.TryStar():
                statement.body = self.block(statement.body)
                for handler in statement.handlers:
                    handler.body = self.block(handler.body, Place(((ENTRY, handler.lineno),)))
                statement.orelse = self.block(statement.orelse)
                statement.finalbody = self.block(statement.finalbody)
            case ast.With() | ast.AsyncWith():
                statement.body = self.block(statement.body)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                statement.body = self._scope(statement.body)

    def _branches(self, statement: ast.If | ast.For | ast.AsyncFor | ast.While) -> None:
        line, inner = statement.lineno, _first_line(statement.body[0])
        body = self.block(statement.body, Place(((line, inner),)))
        statement.orelse = self.block(statement.orelse, Place(not_taken=(line, inner)))
        statement.body = body

    def _cases(self, statement: ast.Match) -> None:
        lines = [statement.lineno]
        for case in statement.cases:
            lines.append(case.pattern.lineno)
            inner = _first_line(case.body[0])
            case.body = self.block(case.body, Place((*pairwise(lines), (lines[-1], inner))))
        last = statement.cases[-1]
        if last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None:
            return
        place = Place(tuple(pairwise(lines)), not_taken=(lines[-1], inner))
        statement.cases.append(ast.match_case(ast.MatchAs(), body=[self._mark(place, statement)]))


def _reached(statement: ast.stmt) -> Place:
    return Place(tuple((ENTRY, line) for line in _lines(statement)))


def _first_line(statement: ast.stmt) -> int:
    return _lines(statement)[0]


def _lines(statement: ast.stmt) -> list[int]:
    """The line of a statement, after those of its decorators."""
    decorators = getattr(statement, "decorator_list", [])
    return [*(decorator.lineno for decorator in decorators), statement.lineno]
