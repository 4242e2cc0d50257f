"""Globs: `*` stands for any characters, `?` for one; everything else, brackets too, for itself.

Asking costs time linear in the text whatever the globs are.
"""

from __future__ import annotations

import re
from typing import Any

import re2

_WILD = re.compile(r"[*?]")


class GlobSet:
    """Several globs, ready to be asked. With `fold_case` upper and lower case are the same."""

    __slots__ = ("_exact", "_fold_case", "_others", "_prefixes")

    def __init__(self, globs: str | tuple[str, ...], *, fold_case: bool = False) -> None:
        self._fold_case = fold_case
        wanted = (globs,) if isinstance(globs, str) else globs
        if fold_case:
            wanted = tuple(glob.casefold() for glob in wanted)
        self._exact = frozenset(glob for glob in wanted if not _WILD.search(glob))
        self._prefixes = tuple(glob[:-1] for glob in wanted if glob.endswith("*") and not _WILD.search(glob[:-1]))
        others = [glob for glob in wanted if _WILD.search(glob[:-1]) or glob.endswith("?")]
        self._others: Any = re2.compile("|".join(f"(?:{_pattern(glob)})" for glob in others)) if others else None

    def matches(self, text: str) -> bool:
        """Whether a whole text fits one of the globs."""
        if self._fold_case:
            text = text.casefold()
        if text in self._exact or (self._prefixes and text.startswith(self._prefixes)):
            return True
        return self._others is not None and self._others.fullmatch(text) is not None


def _pattern(glob: str) -> str:
    pieces = {"*": "(?s:.*)", "?": "(?s:.)"}
    return "".join(pieces.get(char) or re2.escape(char) for char in glob)
