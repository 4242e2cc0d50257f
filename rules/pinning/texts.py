"""How much a text changed, judged by what a model would read in it."""

from __future__ import annotations

import re
from typing import Final

from rules.pinning.classification import Reason
from rules.pinning.visible import hidden_characters, similarity, tokens

REWORDED_SIMILARITY: Final = 0.9
MAX_DETAIL_WORDS: Final = 12

_ADDRESS: Final = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.|\bmailto:|\S@\S+\.\S", re.IGNORECASE)
_ORDERS: Final = frozenset(
    """send read call include pass ignore use execute run upload forward fetch post copy append write delete remove
    transfer share open load store save reveal print output return disregard forget override bypass hide ensure must
    always before first instead required important immediately obey follow remember add attach provide""".split()
)
_NEGATIONS: Final = frozenset("not never no cannot without only except unless don doesn isn won".split())


def text_reasons(before: str, after: str, pointer: str) -> list[Reason]:
    """The rows that apply to a text that changed."""
    reasons: list[Reason] = []
    added_hidden = set(hidden_characters(after)) - set(hidden_characters(before))
    if added_hidden:
        shown = " ".join(f"U+{ord(char):04X}" for char in sorted(added_hidden)[:MAX_DETAIL_WORDS])
        reasons.append(Reason("hidden_characters_added", pointer, shown))
    left, right = tokens(before), tokens(after)
    said = sorted(((right - left) & _ORDERS) | ((left ^ right) & _NEGATIONS))
    addressed = len(_ADDRESS.findall(after)) > len(_ADDRESS.findall(before)) or _addresses(after) - _addresses(before)
    likeness = similarity(before, after)
    if said or addressed or likeness < REWORDED_SIMILARITY:
        words = ", ".join(said[:MAX_DETAIL_WORDS])
        detail = f"similarity {likeness:.2f}" + (f", words that came or went: {words}" if words else "")
        reasons.append(Reason("description_changed", pointer, detail + (", new address" if addressed else "")))
    else:
        reasons.append(Reason("description_reworded", pointer, f"similarity {likeness:.2f}"))
    return reasons


def _addresses(text: str) -> set[str]:
    """The words that hold an address."""
    return {word for word in text.split() if _ADDRESS.search(word)}
