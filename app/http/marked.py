"""Longer texts from outside as markup: findings highlighted in place, JSON laid out over lines.

Offsets are characters of the original text. `reindented` changes white space only, and says where every character went.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from app.http.hostile import hostile

SEVERITIES = ("info", "low", "medium", "high", "critical")
INDENT = "  "
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


class Highlight(NamedTuple):
    """A span to be marked in the colour of its severity, with the rules that found it."""

    start: int
    end: int
    severity: str
    rules: tuple[str, ...]


class Layout(NamedTuple):
    """A text laid out anew, and the place of each of its original characters; one more place for the end."""

    text: str
    places: Sequence[int]


def reindented(text: str) -> Layout | None:
    """JSON (an object or a list with something in it) with a line for each member; None for anything else.

    Values may be masked, so that a number can read `4111…(16)`; what is no token of JSON and no mask is refused.
    """
    if text[:1] not in ("{", "[") or text[-1:] not in ("}", "]"):
        return None
    places = [0] * (len(text) + 1)
    pieces: list[str] = []
    length = depth = 0
    position = 0
    before = ""
    for token in _TOKEN.finditer(text):
        if text[position : token.start()].strip():
            return None
        word = token[0]
        depth -= word in "}]"
        if not _may_stand(word) or depth < 0 or (depth == 0 and before and word not in "}]"):
            return None
        gap = _gap(before, word, depth)
        pieces += (gap, word)
        places[position : token.start()] = [length] * (token.start() - position)
        length += len(gap)
        places[token.start() : token.end()] = range(length, length + len(word))
        length += len(word)
        depth += word in "{["
        position, before = token.end(), word
    if depth or position != len(text) or len(pieces) <= 4:
        return None
    places[-1] = length
    return Layout("".join(pieces), places)


def _may_stand(word: str) -> bool:
    if word[0] in '"{}[],:' or "…(" in word:
        return True
    try:
        json.loads(word)
    except ValueError:
        return False
    return True


def _gap(before: str, word: str, depth: int) -> str:
    """The white space between two tokens; `depth` is that of the second one."""
    if word in (",", ":"):
        return ""
    if before == ":":
        return " "
    if before in ("{", "[") and word in ("}", "]"):
        return ""
    return f"\n{INDENT * depth}" if before else ""


def highlighted(text: str, highlights: Sequence[Highlight]) -> Markup:
    """The text as safe markup, line breaks kept. Where highlights overlap, the worst severity colours the place."""
    spans = [span for span in highlights if 0 <= span.start < span.end <= len(text)]
    edges = sorted({0, len(text), *(edge for span in spans for edge in (span.start, span.end))})
    drawn: list[Markup] = []
    for start, end in itertools.pairwise(edges):
        covering = [span for span in spans if span.start <= start and end <= span.end]
        part = hostile(text[start:end], lines=True)
        if covering:
            worst = max(covering, key=lambda span: SEVERITIES.index(span.severity))
            rules = ", ".join(dict.fromkeys(rule for span in covering for rule in span.rules))
            part = Markup('<mark class="mark-{}" title="{}">{}</mark>').format(worst.severity, rules, part)
        drawn.append(part)
    return Markup("").join(drawn)
