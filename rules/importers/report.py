"""What an import brings, and what it left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

MAX_NOTES = 1_000
MAX_NUMBER = 1_000_000_000

Kind = Literal["dropped", "changed"]


class Note(msgspec.Struct, frozen=True):
    """One thing that is not in the imported policy as it was in the file."""

    kind: Kind
    pointer: str
    """JSON pointer into the file that was imported."""
    reason: str


class Imported(msgspec.Struct, frozen=True):
    """The outcome of an import. `document` has the shape of a policy; whether it is sound is for lint to say."""

    dialect: str
    document: dict[str, Any]
    notes: list[Note]


class ImportRefused(ValueError):
    """The bytes are no policy of any known dialect; the message says why."""


class Report:
    """Collects notes, at most `MAX_NOTES`."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def add(self, kind: Kind, pointer: str, reason: str) -> None:
        """Say that something was dropped or changed."""
        if len(self.notes) < MAX_NOTES - 1:
            self.notes.append(Note(kind, pointer, reason))
        elif len(self.notes) < MAX_NOTES:
            self.notes.append(Note("dropped", "", "more was dropped or changed than is listed here"))

    def dropped(self, pointer: str, reason: str) -> None:
        """Something is not in the policy."""
        self.add("dropped", pointer, reason)

    def changed(self, pointer: str, reason: str) -> None:
        """Something is in the policy, but not as it was."""
        self.add("changed", pointer, reason)


class Fields:
    """The members of one object. Names are compared without case and punctuation: `blockedPatterns`, `blocked_patterns`.

    Whatever nobody took by the time of `finish` is reported as dropped. Of one member in several spellings all are read where
    it is a list; else the first counts, and the others are reported.
    """

    def __init__(self, value: dict[str, Any], pointer: str, report: Report) -> None:
        self.pointer = pointer
        self.report = report
        self._members: dict[str, list[tuple[str, Any]]] = {}
        """By bare name each spelling with its value."""
        for name, member in value.items():
            self._members.setdefault(_bare(name), []).append((name, member))

    def take(self, *names: str) -> Any:
        """The first of these members that is there; None without one."""
        for name in names:
            if found := self._members.pop(_bare(name), None):
                for other, _ in found[1:]:
                    self.report.dropped(self._at(other), "is given twice in different spellings; the first one counts")
                return found[0][1]
        return None

    def text(self, *names: str, default: str = "", longest: int | None = None) -> str:
        """A member that is text; a number is taken as its digits, anything else is reported, and so is what is longer than
        can be kept."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None:
            return default
        if isinstance(value, str):
            text = value.strip()
            if longest is not None and len(text) > longest:
                self.report.changed(place, f"only its first {longest:,} characters are kept")
            return text[:longest]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        self.report.dropped(place, "is not text")
        return default

    def flag(self, *names: str, default: bool) -> bool:
        """A member that is true or false; anything else is reported."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.report.dropped(place, "is neither true nor false")
        return default

    def number(self, *names: str) -> float | None:
        """A member that is a number of reasonable size; anything else is reported."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER:
            return value
        self.report.dropped(place, "is not a number")
        return None

    def items(self, *names: str) -> Iterator[tuple[str, Any]]:
        """The elements of a member that is a list, each with its pointer; anything else is reported."""
        for name in names:
            for spelling, value in self._members.pop(_bare(name), ()):
                if isinstance(value, list):
                    for index, item in enumerate(value):
                        yield f"{self._at(spelling)}/{index}", item
                elif value is not None:
                    self.report.dropped(self._at(spelling), "is not a list")

    def objects(self, *names: str) -> Iterator[Fields]:
        """The elements of a list that are objects; others are reported."""
        for pointer, item in self.items(*names):
            if isinstance(item, dict):
                yield Fields(item, pointer, self.report)
            else:
                self.report.dropped(pointer, "is not an object")

    def place(self, *names: str) -> str:
        """The pointer of the first of these members that is there."""
        for name in names:
            if found := self._members.get(_bare(name)):
                return self._at(found[0][0])
        return self.pointer

    def _at(self, name: str) -> str:
        return f"{self.pointer}/{name.replace('~', '~0').replace('/', '~1')}"

    def finish(self, reasons: dict[str, str] | None = None, default: str = "has no counterpart here") -> None:
        """Report every member that nobody took, with its reason by bare name."""
        known = {_bare(name): reason for name, reason in (reasons or {}).items()}
        for bare, spellings in self._members.items():
            for name, value in spellings:
                if value not in (None, "", [], {}):
                    self.report.dropped(self._at(name), known.get(bare, default))
        self._members.clear()


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
