"""Replaces what rules found in a text that arrives in pieces (RED-STR-6, RED-STR-7, RED-STR-8)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from rules.long_values import LONG_CHARACTERS
from rules.masking.pending import Pending
from rules.masking.session import MaskingSession
from rules.masking.spans import Replace, Span, replace_spans, without_placeholders

MAX_HELD_CHARACTERS: Final = 64 * 1024
CONTEXT_CHARACTERS: Final = 64


class HeldTooLong(Exception):
    """More of a text waits for a decision than may wait; it must not go out."""


class Redactor:
    """Holds back what a rule may still match, replaces what one has matched, and lets the rest go.

    `session` names the placeholders that stand for values of the request: they are no values and stay.
    """

    __slots__ = ("_base", "_buffer", "_context", "_masked", "_pending", "_replace", "_session", "_spans", "missed")

    def __init__(self, pending: Pending, replace: Replace, session: MaskingSession | None) -> None:
        self._pending = pending
        self._replace = replace
        self._session = session
        self._buffer = ""
        self._base = 0
        self._context = ""
        self._spans: list[Span] = []
        self._masked = ("", 0, 0)
        """The last value that was replaced: its rule, and its span in the whole text."""
        self.missed = 0
        """Spans that were reported after their text had gone out."""

    @property
    def held_characters(self) -> int:
        """How much waits for the next piece."""
        return len(self._buffer)

    def feed(self, text: str, spans: Iterable[Span] = (), undecided_from: int | None = None) -> str:
        """What can go out after the next piece, with what was found by now.

        Offsets count from the beginning of the whole text. From `undecided_from` on, a match that is complete may still
        be found or dropped. Raises `HeldTooLong`.
        """
        self._buffer += text
        self._note(spans)
        if not self._buffer:
            return ""
        context = self._context.encode("utf-8", "replace")
        data = self._buffer.encode("utf-8", "replace")
        start = self._pending.start(context + data, len(context)) - len(context)
        limit = len(self._buffer) if start >= len(data) else len(data[:start].decode("utf-8", "replace"))
        if undecided_from is not None:
            limit = min(limit, max(0, undecided_from - self._base))
        if self._session is not None:
            limit = min(limit, self._session.undecided_from(self._buffer, self._context[-1:]))
        released = self._release(limit)
        if len(self._buffer) > MAX_HELD_CHARACTERS:
            raise HeldTooLong(f"more than {MAX_HELD_CHARACTERS} characters wait for a rule to decide")
        return released

    def close(self, spans: Iterable[Span] = ()) -> str:
        """The rest, with what the end of the text decided."""
        self._note(spans)
        return self._release(len(self._buffer))

    def _note(self, spans: Iterable[Span]) -> None:
        for span in spans:
            start = max(span.start - self._base, 0)
            end = span.end - self._base
            self.missed += span.start < self._base
            if end > start:
                self._spans.append(span._replace(start=start, end=end))

    def _release(self, limit: int) -> str:
        # The spans are settled over all that is held, so that what belongs together is replaced together.
        settled = without_placeholders(self._buffer, self._spans, self._session) if self._spans else []
        for span in settled:
            if span.start < limit < span.end:
                limit = span.start
        text, self._buffer = self._buffer[:limit], self._buffer[limit:]
        self._context = (self._context + text)[-CONTEXT_CHARACTERS:]
        base = self._base
        self._base += limit
        now = [span for span in settled if span.end <= limit]
        self._spans = [
            span._replace(start=span.start - limit, end=span.end - limit) for span in self._spans if span.end > limit
        ]
        return replace_spans(text, now, partial(self._replaced, base)) if now else text

    def _replaced(self, base: int, span: Span, value: str) -> str:
        """What stands for a span; nothing for the next part of a value that is longer than a match may be."""
        rule_id, start, end = self._masked
        here, there = base + span.start, base + span.end
        if here == end and span.rule_id == rule_id and end - start >= LONG_CHARACTERS:
            self._masked = rule_id, start, there
            return ""
        self._masked = span.rule_id, here, there
        return self._replace(span, value)
