"""All views of a text besides the raw one (detection requirements §2.5): what they are and how many there may be.

`views` makes them for one text alone, to be shown. The engine makes the same ones level by level, because its scan
of each level tells it by the triggers what there is to decode.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from rules.decoding import ENCODINGS, Source
from rules.derived_view import Course, DerivedView, Piece, Segment, packed
from rules.disguises import DISGUISES
from rules.normalize import may_normalize, normalized
from rules.patterns import regexp

DECODERS = (*ENCODINGS, *DISGUISES)
TRIGGERS = tuple(decoder.trigger for decoder in DECODERS)
"""Patterns that the engine adds to every ruleset, in the order of their numbers."""

MAX_DEPTH = 2
"""Encodings around one another that are undone."""
MAX_VIEWS = 8
"""Decoded views of one text."""
MAX_VIEWS_PER_DECODER = 4
"""Of those, at one level: no flood of one encoding hides the others."""
MAX_MESSAGE_VIEWS = 64
"""Decoded views of one message, the newest texts first."""

_trigger_regexps = tuple(map(regexp, TRIGGERS))


def views(text: str) -> list[DerivedView]:
    """The views of a text, each with how it was made; the normalised ones first, then what is inside what."""
    data = text.encode("utf-8", "replace")
    found = normalized(text, data) if not data.isascii() and may_normalize(data) else []
    level: list[DerivedView | None] = [base_of(found), *(view for view in found if not view.is_plain)]
    budget = ViewBudget()
    for _ in range(MAX_DEPTH):
        next_level: list[DerivedView | None] = []
        for base in level:
            source = Source(base.text if base else text)
            present = [number for number, trigger in enumerate(_trigger_regexps) if trigger.search(source.data)]
            next_level += decoded(source, base, present, budget, text)
        found += (view for view in next_level if view)
        level = next_level
    return found


def base_of(normal: list[DerivedView]) -> DerivedView | None:
    """The view to decode in place of the raw text: the plain normalised one, if there is one."""
    return next((view for view in normal if view.is_plain), None)


class ViewBudget:
    """How many views may still be made of one text, and what has been seen of it already."""

    __slots__ = ("left", "seen")

    def __init__(self) -> None:
        self.left = MAX_VIEWS
        self.seen: set[str] = set()

    def admits(self, text: str) -> bool:
        """Whether a view with this text is worth making; counts it when it is."""
        if not self.left or text in self.seen:
            return False
        self.seen.add(text)
        self.left -= 1
        return True


def decoded(
    source: Source, base: DerivedView | None, present: Collection[int], budget: ViewBudget, raw: str
) -> Iterator[DerivedView]:
    """The decoded views of one text in which these triggers (by number) are present; `base` is the text's own view, and `raw`
    the text from which all came."""
    for number in sorted(present):
        decoder = DECODERS[number]
        if decoder.is_its_own and base and base.made.rpartition("+")[2] == decoder.name:
            continue
        made = f"{base.made}+{decoder.name}" if base and not base.is_plain else decoder.name
        segments = (one for one in decoder.decode(source) if not _is_undone(one, base, raw))
        for segment in islice(packed(segments), MAX_VIEWS_PER_DECODER):
            if not budget.left:
                return
            if segment.text != source.text and budget.admits(segment.text):
                yield DerivedView("decoded", made, segment.text, segment.pieces, base)


def _is_undone(segment: Segment, base: DerivedView | None, raw: str) -> bool:
    """Whether a part of a view of a view is the text again as it stands there: reversed once more, it is no disguise."""
    if base is None or base.name != "decoded":
        return False
    low, high = 0, len(segment.text)
    view: DerivedView | None = DerivedView("decoded", "", segment.text, segment.pieces, base)
    while view and view.name == "decoded":
        low, high = view.base_span(low, high)
        view = view.base
    return (view.text if view else raw)[low:high] == segment.text


__all__ = ["DECODERS", "TRIGGERS", "Course", "DerivedView", "Piece", "ViewBudget", "base_of", "decoded", "views"]
