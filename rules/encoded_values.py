"""Values to mask that show only once a text is decoded, where there are more of them than a message has views.

However much of a message is encoded, only a few views of it are made, which is enough to see an order to a model. Of values
that have to be masked none may be left over. So where such a view holds one, the other texts are searched a few at a time,
and each text with one again without those that are known, until nothing more is found. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from rules.definitions import Masks, Scan, is_about_values
from rules.evaluator import TooMuchToMask
from rules.model import Finding, Target, Text
from rules.views import MAX_MESSAGE_VIEWS, MAX_VIEWS

MAX_ROUNDS: Final = 16
"""Some hundreds of values are found in each; a text with more than in all of them does not pass."""
TEXTS_AT_ONCE: Final = MAX_MESSAGE_VIEWS // MAX_VIEWS
"""Of so many none takes the views of another."""
_Place = tuple[Target, str]


def beyond_views(texts: Sequence[Text], scan: Scan, masks: Masks, known: Collection[Finding]) -> list[Finding]:
    """What is found in these texts beyond the encoded values that are `known`; raises `TooMuchToMask`."""
    spans = _encoded(known, masks)
    if not spans:
        return []
    more: list[Finding] = []

    def search(some: Sequence[Text]) -> set[_Place]:
        """Find encoded values in texts; the places of those that had more."""
        found = scan(some)
        new = _encoded(found, masks)
        more.extend(one for one in found if one.view == "decoded" and (one.target, one.path) in new)
        for place, those in new.items():
            spans.setdefault(place, []).extend(those)
        return set(new)

    fresh = set(spans)
    rest = [text for text in texts if (text.target, text.path) not in fresh]
    for start in range(0, len(rest), TEXTS_AT_ONCE):
        fresh |= search(rest[start : start + TEXTS_AT_ONCE])
    for _ in range(MAX_ROUNDS):
        places = [text for text in texts if (text.target, text.path) in fresh]
        fresh = set()
        for start in range(0, len(places), TEXTS_AT_ONCE):
            fresh |= search(
                [
                    Text(text.target, text.path, _without(text.text, spans[text.target, text.path]))
                    for text in places[start : start + TEXTS_AT_ONCE]
                ]
            )
        if not fresh:
            return more
    raise TooMuchToMask("a text holds more encoded values than can be masked")


def _encoded(found: Collection[Finding], masks: Masks) -> dict[_Place, list[tuple[int, int]]]:
    """By text: where the values stand that only a decoded view shows."""
    spans: dict[_Place, list[tuple[int, int]]] = {}
    for finding in found:
        if finding.view == "decoded" and (
            finding.sensitive or is_about_values(finding.pack, finding.rule_id, finding.category, finding.action, masks)
        ):
            start, end = finding.value_start, finding.value_end
            span = (start, end) if end > start else (finding.start, finding.end)
            spans.setdefault((finding.target, finding.path), []).append(span)
    return spans


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with spaces in the place of these spans, so that everything else stays where it was."""
    pieces: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if end > position:
            pieces += (text[position:start], " " * (end - max(start, position)))
            position = end
    return "".join((*pieces, text[position:]))
