"""The evidence of a finding with the hit highlighted.

The engine cuts about forty characters of context around a hit, writes control characters as escapes and replaces
secrets by their first characters and their length (`AKIA…(20)`). The offsets of the finding count characters of the
original text, so this walks the excerpt in pieces that each say how many original characters they stand for.
"""

from __future__ import annotations

import re
import sys
from typing import Protocol

from markupsafe import Markup

from app.http.hostile import hostile, is_deceptive
from rules.canaries import PACK as CANARY

CONTEXT_CHARACTERS = 40
MARKED_CHARACTERS = 100

_PIECE = re.compile(r"(?P<mask>[^\s…]{0,4}…\((?P<length>\d{1,6})\))|\\[tnr]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|.", re.DOTALL)


def evidence(text: str, limit: int = 0, *, start: int | None = None, end: int | None = None) -> Markup:
    """`text` as safe markup; the span from `start` to `end` (offsets in the original) is in `<mark>`.

    Without offsets only the masked values are marked: what was masked is what was found.
    """
    shown = text[: limit - 1] + "…" if limit and len(text) > limit else text
    position = max(0, start - CONTEXT_CHARACTERS) if start is not None else 0
    drawn: list[tuple[bool, str]] = []
    for piece in _PIECE.finditer(shown):
        width = int(piece["length"]) if piece["mask"] else 1
        if start is None or end is None:
            marked = bool(piece["mask"])
        else:
            marked = position < min(end, start + MARKED_CHARACTERS) and position + width > start
        if drawn and drawn[-1][0] == marked:
            drawn[-1] = (marked, drawn[-1][1] + _as_it_was(piece[0]))
        else:
            drawn.append((marked, _as_it_was(piece[0])))
        position += width
    return Markup("").join(
        Markup("<mark>{}</mark>").format(hostile(part)) if marked else hostile(part) for marked, part in drawn
    )


class Found(Protocol):
    """A finding or an alert as far as its evidence is drawn."""

    @property
    def pack(self) -> str: ...

    @property
    def category(self) -> str: ...

    @property
    def action(self) -> str: ...

    @property
    def evidence(self) -> str: ...


class Placed(Found, Protocol):
    """A finding whose place is known."""

    @property
    def view(self) -> str: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def evidence_of(finding: Placed) -> Markup:
    """The evidence of a finding, with the hit marked where its offsets count the characters of the excerpt.

    They do not in a decoded text, whose offsets are those of the code, nor beside the name of a canary.
    """
    if finding.view == "decoded" or finding.pack == CANARY:
        return evidence_alone(finding)
    return evidence(finding.evidence, start=finding.start, end=finding.end)


def evidence_alone(found: Found, limit: int = 0) -> Markup:
    """The evidence without its place: masked values are marked where they are what the rule looks for, and nothing else."""
    is_value = found.pack == CANARY or found.action == "redact" or found.category.startswith(("secrets/", "pii/"))
    return evidence(found.evidence, limit) if is_value else evidence(found.evidence, limit, start=0, end=0)


def _as_it_was(piece: str) -> str:
    """An escaped invisible character as itself, which `hostile` draws as a token; any other piece unchanged.

    Somebody may have typed an escape: what is no character, or one that can be seen, stays as it is written.
    """
    if len(piece) not in (6, 10) or piece[:2] not in ("\\u", "\\U"):
        return piece
    code = int(piece[2:], 16)
    is_character = code <= sys.maxunicode and not 0xD800 <= code <= 0xDFFF
    return chr(code) if is_character and is_deceptive(chr(code)) else piece
