"""Puts values back into a text that arrives in pieces (requirements a2a-and-llm §5.4 "Unmask")."""

from __future__ import annotations

from rules.masking.links import LinkContext
from rules.masking.session import Masked, MaskingSession


class Unmasker:
    """Restores the placeholders of one session in one text.

    It waits only where the text ends with the beginning of a placeholder of this session, and never guesses: what the
    end of the text leaves incomplete goes out as it is. A restored value is not looked at again.
    """

    __slots__ = ("_before", "_buffer", "_links", "_restored", "_session", "is_incomplete")

    def __init__(self, session: MaskingSession, restored: dict[Masked, int] | None = None) -> None:
        """`restored` counts how often each value was put back."""
        self._session = session
        self._restored = {} if restored is None else restored
        self._buffer = ""
        self._before = ""
        self._links = LinkContext()
        self.is_incomplete = False
        """Whether the text ended inside a placeholder (RED-STR-3)."""

    @property
    def held_characters(self) -> int:
        """How much waits for the next piece."""
        return len(self._buffer)

    def feed(self, text: str) -> str:
        """What can go out after the next piece."""
        return self._advance(text, final=False)

    def close(self) -> str:
        """The rest, at the end of the text."""
        return self._advance("", final=True)

    def _advance(self, delta: str, *, final: bool) -> str:
        text = self._buffer + delta
        if not text:
            return ""
        limit = self._session.undecided_from(text, self._before)
        if final and limit < len(text):
            self.is_incomplete = True
            limit = len(text)
        pieces: list[str] = []
        position = 0
        for found in self._session.find(text, self._before):
            if found.start < position:
                continue
            if found.start >= limit:
                break
            pieces.append(plain := text[position : found.start])
            self._links.read(plain)
            if self._links.is_inside():
                pieces.append(text[found.start : found.end])
            else:
                masked = found.masked
                pieces.append(masked.value)
                self._restored[masked] = self._restored.get(masked, 0) + 1
            position = found.end
        if position < limit:
            pieces.append(plain := text[position:limit])
            self._links.read(plain)
        self._buffer = text[limit:]
        self._before = text[limit - 1] if limit else self._before
        return "".join(pieces)


def unmask(session: MaskingSession, text: str, restored: dict[Masked, int] | None = None) -> str:
    """A whole text with its placeholders restored."""
    unmasker = Unmasker(session, restored)
    return unmasker.feed(text) + unmasker.close()
