"""Values to mask that show only once a text is decoded, where it holds more of them than its views do.

However much of a text is encoded, only a few views of it are made, which is enough to see an order to a model. Of values
that have to be masked none may be left over: so where such a view holds one, the text is searched again without those that
are known, until nothing more is found. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from rules.definitions import Masks, Scan, is_about_values
from rules.evaluator import TooMuchToMask
from rules.model import Finding, Target, Text

MAX_ROUNDS: Final = 16
"""Some hundreds of values are found in each; a text with more than in all of them does not pass."""
_Place = tuple[Target, str]


def beyond_views(texts: Sequence[Text], scan: Scan, masks: Masks, known: Collection[Finding]) -> list[Finding]:
    """What is found in these texts once the encoded values in `known` are gone from them; raises `TooMuchToMask`."""
    spans = _encoded(known, masks)
    more: list[Finding] = []
    rounds = 0
    fresh: Collection[_Place] = spans.keys()
    while fresh:
        if rounds == MAX_ROUNDS:
            raise TooMuchToMask("a text holds more encoded values than can be masked")
        rounds += 1
        found = scan(
            [
                Text(text.target, text.path, _without(text.text, spans[place]))
                for text in texts
                if (place := (text.target, text.path)) in fresh
            ]
        )
        new = _encoded(found, masks)
        more += [finding for finding in found if (finding.target, finding.path) in new and finding.view == "decoded"]
        for place, those in new.items():
            spans[place] += those
        fresh = new.keys()
    return more


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
