"""What was found in the texts that were seen lately: a conversation says with every turn all that was said before, and a client
lists the same tools again and again.

A text is known by a keyed digest, never kept, and so nothing of it stays in memory but what was found: findings, whose
evidence is masked. The rules that found it do not change, because a ruleset never does. What comes once is worth no digest:
of it only a hash is remembered, and what was found once the same hash comes again.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import msgspec

from rules.model import Finding, Target, Text

MAX_WEIGHT: Final = 4_096
"""Texts and findings of each of two generations: when the younger one is full it becomes the elder, and that is forgotten."""
MAX_MET: Final = 16_384
"""Hashes; then they are forgotten together."""
MAX_KEPT_FINDINGS: Final = 32
"""A text with more is searched each time."""

Key = tuple[str, str, Target, bytes]
"""For whom, direction, target, and the digest of the text."""


class SeenTexts:
    """The findings by text, bounded; for one ruleset. Two threads at once may at worst forget something."""

    __slots__ = ("_elder", "_met", "_secret", "_weight", "_younger")

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        """Nobody outside can make a text that passes for another one."""
        self._younger: dict[Key, tuple[Finding, ...]] = {}
        self._elder: dict[Key, tuple[Finding, ...]] = {}
        self._weight = 0
        self._met: set[int] = set()

    def meet(self, text: Text, direction: str, whose: str) -> bool:
        """Whether the text may have come before; it has from now on."""
        mark = hash((whose, direction, text.target, text.text))
        if mark in self._met:
            return True
        if len(self._met) >= MAX_MET:
            self._met = set()
        self._met.add(mark)
        return False

    def key(self, text: Text, direction: str, whose: str) -> Key:
        """Under what the findings of a text are kept. Where it stands in its message does not matter; but nobody learns by the
        time that it takes what somebody else said."""
        data = text.text.encode("utf-8", "surrogatepass")
        # The processor itself computes it, which takes half the time of others; nobody sees what could be prolonged.
        return whose, direction, text.target, hashlib.sha256(self._secret + data).digest()

    def recall(self, key: Key) -> tuple[Finding, ...] | None:
        """What was found in a text; None for one that was not seen lately."""
        found = self._younger.get(key)
        if found is None:
            found = self._elder.get(key)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: Key, found: tuple[Finding, ...]) -> None:
        """Remember the findings of a text, all of them."""
        if len(found) > MAX_KEPT_FINDINGS:
            return
        self._weight += 1 + len(found)
        if self._weight > MAX_WEIGHT:
            self._elder, self._younger, self._weight = self._younger, {}, 1 + len(found)
        self._younger[key] = found


def placed(found: tuple[Finding, ...], path: str) -> list[Finding]:
    """The findings of a text that stands at this place of its message."""
    return [one if one.path == path else msgspec.structs.replace(one, path=path) for one in found]
