"""Which parts of a text are replaced, and by what (RED-STR-12)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rules.masking.placeholders import GRAMMAR, LITERAL_LABEL, may_hold_placeholder, one_way
from rules.masking.session import MaskingSession

MIN_REPEATED_CHARACTERS: Final = 6
"""A shorter value is masked where it was found and not wherever else its characters occur."""
FEW_VALUES: Final = 16


class Span(NamedTuple):
    """A part of a text that must not be shown. Offsets are characters."""

    start: int
    end: int
    label: str
    reversible: bool
    rule_id: str
    score: int = 0


Replace = Callable[[Span, str], str]
"""What stands in the place of a span and its value."""


def settle(spans: Iterable[Span]) -> list[Span]:
    """The spans in order and without overlap.

    Overlapping ones become one that covers them all, so that no end of a secret is left over; it has the label of the
    longest (of equals, the one with the highest score) and is reversible only where all of them are.
    """
    settled: list[Span] = []
    longest: list[Span] = []
    for span in sorted(spans):
        start, end, label, reversible, rule_id, score = span
        if end <= start:
            continue
        if not settled or start >= settled[-1].end:
            settled.append(span)
            longest.append(span)
            continue
        last, best = settled[-1], longest[-1]
        if (end - start, score, label) > (best.end - best.start, best.score, best.label):
            longest[-1] = span
        else:
            _, _, label, _, rule_id, score = best
        settled[-1] = Span(last.start, max(last.end, end), label, last.reversible and reversible, rule_id, score)
    return settled


def replace_spans(text: str, spans: Sequence[Span], replace: Replace) -> str:
    """The text with its settled spans replaced."""
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces.append(text[position : span.start])
        pieces.append(replace(span, text[span.start : span.end]))
        position = span.end
    pieces.append(text[position:])
    return "".join(pieces)


def without_placeholders(text: str, spans: Iterable[Span], session: MaskingSession | None) -> list[Span]:
    """The settled spans without the placeholders of the session in them, which are no values.

    What is left of a span beside a placeholder stays a span where it holds a letter or a digit.
    """
    settled = settle(spans)
    if session is None or not settled:
        return settled
    for found in session.find(text):
        cut: list[Span] = []
        for span in settled:
            if span.end <= found.start or span.start >= found.end:
                cut.append(span)
                continue
            for start, end in ((span.start, found.start), (found.end, span.end)):
                if any(char.isalnum() for char in text[start:end]):
                    cut.append(span._replace(start=start, end=end))
        settled = cut
    return settled


def literal_spans(text: str, session: MaskingSession, *, keeps_own: bool = False) -> list[Span]:
    """What looks like a placeholder in an input: it is masked itself, so that it comes back as it was (RED-PH-2).

    With `keeps_own` without the placeholders of the session: a text that the upstream has had before says with them what it
    said then.
    """
    if not may_hold_placeholder(text):
        return []
    own = [(found.start, found.end) for found in session.find(text)]
    spans = [match.span() for match in GRAMMAR.finditer(text)]
    chosen = [span for span in spans if span not in own] if keeps_own else [*spans, *own]
    return [Span(start, end, LITERAL_LABEL, True, "") for start, end in chosen]


class RepeatedValues:
    """Further occurrences of values that are masked elsewhere in the message, where they are not part of a longer word.

    One pass over a text, however many values there are: only where a value may begin, the few lengths of the values that
    begin so are looked up. Few values are looked for one by one.
    """

    def __init__(self, kinds: Mapping[str, Span]) -> None:
        """`kinds` has for each value the span that says how it is masked; short values are left out."""
        self._kinds = {value: kind for value, kind in kinds.items() if len(value) >= MIN_REPEATED_CHARACTERS}
        self._lengths: dict[str, list[int]] = {}
        self._beginnings: re.Pattern[str] | None = None
        if len(self._kinds) > FEW_VALUES:
            lengths: dict[str, set[int]] = {}
            for value in self._kinds:
                lengths.setdefault(value[:MIN_REPEATED_CHARACTERS], set()).add(len(value))
            self._lengths = {beginning: sorted(sizes, reverse=True) for beginning, sizes in lengths.items()}
            first = sorted({value[0] for value in self._kinds})
            letters = "".join(char for char in first if char.isalnum())
            signs = "".join(char for char in first if not char.isalnum())
            found = [rf"(?<!\w)[{re.escape(letters)}]"] if letters else []
            found += [f"[{re.escape(signs)}]"] if signs else []
            self._beginnings = re.compile("|".join(found))

    def spans(self, text: str) -> list[Span]:
        """Where the values stand, of overlapping ones the first and longest."""
        return list(self._looked_up(text) if self._beginnings is None else self._scanned(text, self._beginnings))

    def _looked_up(self, text: str) -> Iterator[Span]:
        """The same for few values: each is looked for by itself, which costs next to nothing where it does not stand."""
        found: list[tuple[int, int, str]] = []
        for value in self._kinds:
            start = text.find(value)
            while start >= 0:
                if not (value[0].isalnum() and start and _is_word(text[start - 1])):
                    found.append((start, -len(value), value))
                start = text.find(value, start + 1)
        position = 0
        for start, _, value in sorted(found):
            end = start + len(value)
            if start >= position and not (value[-1].isalnum() and _is_word(text[end : end + 1])):
                yield _at(self._kinds[value], start, end)
                position = end

    def _scanned(self, text: str, beginnings: re.Pattern[str]) -> Iterator[Span]:
        position = 0
        for match in beginnings.finditer(text):
            start = match.start()
            if start < position:
                continue
            for length in self._lengths.get(text[start : start + MIN_REPEATED_CHARACTERS], ()):
                end = start + length
                # What is left of the text may be another, shorter value.
                kind = self._kinds.get(text[start:end]) if end <= len(text) else None
                if kind is not None and not (text[end - 1].isalnum() and _is_word(text[end : end + 1])):
                    yield _at(kind, start, end)
                    position = end
                    break


def _at(kind: Span, start: int, end: int) -> Span:
    """The same span elsewhere."""
    return Span(start, end, *kind[2:])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def masking_into(session: MaskingSession) -> Replace:
    """Replaces by a placeholder of the session, or for good where the span is not reversible."""

    def replace(span: Span, value: str) -> str:
        return session.mask(span.label, value, span.rule_id) if span.reversible else one_way(span.label)

    return replace


def for_good(span: Span, _value: str) -> str:
    """Replaces without a way back, whatever the rule says: nobody downstream could restore it."""
    return one_way(span.label)
