"""What an import brings, and what it left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

MAX_NOTES = 1_000

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
        if len(self.notes) < MAX_NOTES:
            self.notes.append(Note(kind, pointer, reason))

    def dropped(self, pointer: str, reason: str) -> None:
        """Something is not in the policy."""
        self.add("dropped", pointer, reason)

    def changed(self, pointer: str, reason: str) -> None:
        """Something is in the policy, but not as it was."""
        self.add("changed", pointer, reason)


class Fields:
    """The members of one object. Names are compared without case and punctuation: `blockedPatterns`, `blocked_patterns`.

    Whatever nobody took by the time of `finish` is reported as dropped.
    """

    def __init__(self, value: dict[str, Any], pointer: str, report: Report) -> None:
        self.pointer = pointer
        self.report = report
        self._members = {_bare(name): (name, member) for name, member in value.items()}

    def __contains__(self, name: str) -> bool:
        return _bare(name) in self._members

    def take(self, *names: str) -> Any:
        """The first of these members that is there; None without one."""
        for name in names:
            if found := self._members.pop(_bare(name), None):
                return found[1]
        return None

    def text(self, *names: str, default: str = "") -> str:
        """A member that is text; a number is taken as its digits, anything else is reported."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None:
            return default
        if isinstance(value, str):
            return value.strip()
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
        """A member that is a number; anything else is reported."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        self.report.dropped(place, "is not a number")
        return None

    def items(self, *names: str) -> Iterator[tuple[str, Any]]:
        """The elements of a member that is a list, each with its pointer; anything else is reported."""
        place = self.place(*names)
        value = self.take(*names)
        if value is None:
            return
        if not isinstance(value, list):
            self.report.dropped(place, "is not a list")
            return
        for index, item in enumerate(value):
            yield f"{place}/{index}", item

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
                return f"{self.pointer}/{found[0].replace('~', '~0').replace('/', '~1')}"
        return self.pointer

    def finish(self, reasons: dict[str, str] | None = None, default: str = "has no counterpart here") -> None:
        """Report every member that nobody took, with its reason by bare name."""
        known = {_bare(name): reason for name, reason in (reasons or {}).items()}
        for bare, (name, value) in self._members.items():
            if value in (None, "", [], {}):
                continue
            place = f"{self.pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            self.report.dropped(place, known.get(bare, default))
        self._members.clear()


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
