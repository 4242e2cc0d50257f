"""What the marks of all processes say, as the data that coverage.py reports from."""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from pathlib import Path

import coverage
from coverage.python import PythonParser
from marked_modules import LEFT, PACKAGES, ROOT
from marked_source import Place, marked


def combine(directory: Path, data: coverage.CoverageData, settings: coverage.Coverage) -> None:
    """Add to `data` which lines and branches ran in any process that left its marks in `directory`."""
    excluded = "|".join(
        f"(?:{pattern})"
        for option in ("report:exclude_lines", "report:exclude_also")
        for pattern in settings.get_option(option) or []
    )
    marks = {str(path): bytearray() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    for left in directory.glob(f"*{LEFT}"):
        for path, found in marshal.loads(left.read_bytes()).items():
            known = marks.get(path) or bytearray(len(found))
            marks[path] = bytearray(one | other for one, other in zip(known, found, strict=True))
    data.add_arcs({path: set(_arcs(Path(path), found, excluded)) for path, found in marks.items() if any(found)})
    data.touch_files(marks)


def _arcs(path: Path, marks: bytearray, excluded: str) -> Iterator[tuple[int, int]]:
    source = path.read_bytes()
    parser = PythonParser(text=source.decode(), filename=str(path), exclude=excluded)
    parser.parse_source()
    possible = parser.arcs()
    _, places = marked(source, str(path))
    for place, mark in zip(places, marks, strict=True):
        if mark:
            yield from place.arcs
            yield from _other_ways(place, possible)


def _other_ways(place: Place, possible: set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where a condition leads when not to its body: coverage.py knows the next statement, or that there is none."""
    if place.not_taken:
        yield from (arc for arc in possible if arc[0] == place.not_taken[0] and arc != place.not_taken)
