"""What was inspected, kept for the record: masked, bounded, and built only when the call is recorded.

While the call runs, the texts and their findings are only noted; no text is copied, but for the part of a long one that
fits. At the end every value of a sensitive rule, its other occurrences in the call and every opaque run are masked, so
that nothing clear leaves the worker. A text whose inspection did not come to an end is not kept at all: nobody knows what
would have to be masked in it.

When there is more than fits, texts with findings come first, then what was said, then definitions of tools; of two
alike the later one, because the end of a conversation says more than its beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Literal

from proxies.contract import CapturedText, TextMark
from rules.engine import MAX_FINDINGS, StreamScan
from rules.matching import MAX_FINDINGS_PER_RULE
from rules.model import Action, Finding, Target, Text
from rules.redact import OPAQUE_MARGIN_CHARS, masked, may_hold_opaque

logger = logging.getLogger(__name__)

Direction = Literal["request", "response"]

MAX_BYTES: Final = 16 * 1024
"""Text kept per direction, in UTF-8."""
MAX_TEXTS: Final = {"request": 48, "response": 16}
MAX_PATH_CHARS: Final = 500
MAX_CHARACTER_BYTES: Final = 4
MIN_PART_BYTES: Final = 256
"""A long text is not cut to less than this; it is left out."""
CONTEXT_CHARS: Final = 400
"""Kept before the first finding of a text that is too long."""
MAX_SECRETS: Final = 64
"""Different values that are looked for in the other texts of the call."""
MIN_SECRET_CHARS: Final = 5
_DEFINITIONS: Final = frozenset(
    {Target.TOOL_NAME, Target.TOOL_DESCRIPTION, Target.PARAM_DESCRIPTION, Target.SCHEMA, Target.SERVER_INSTRUCTIONS}
)
_BY_ORDER: Final = attrgetter("order")
_BY_DIRECTION: Final = attrgetter("direction")
"""Requests come before responses, as in the alphabet."""


@dataclass
class _Noted:
    """One text, or the part of it that fits, with what was found in it."""

    target: Target
    path: str
    text: str
    findings: Sequence[Finding]
    order: int
    end: int
    size: int
    """Bytes that the kept part takes."""
    start: int = 0
    """`text[start:end]` is what is kept; what lies around it only helps to recognise what is cut."""
    origin: int = 0
    """Characters of the inspected text before `text`."""

    @classmethod
    def of(cls, source: Text, findings: Sequence[Finding], order: int) -> _Noted:
        """The whole of a text."""
        text = source.text
        return cls(source.target, source.path, text, findings, order, len(text), _size(text))

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Lower is more worth keeping."""
        return not self.findings, self.target in _DEFINITIONS, -self.order

    def clip(self, room_bytes: int) -> None:
        """Keep the part that fits, from shortly before the first finding where that lies too far back."""
        first = min((finding.start for finding in self.findings), default=0) - self.origin
        start = max(0, first - CONTEXT_CHARS) if first > room_bytes // 2 else 0
        part = self.text[start : min(self.end, start + room_bytes)]
        if not part.isascii():
            part = part.encode("utf-8", "replace")[:room_bytes].decode("utf-8", "ignore")
        low = max(0, start - OPAQUE_MARGIN_CHARS)
        high = start + len(part)
        self.text = self.text[low : high + OPAQUE_MARGIN_CHARS]
        self.origin += low
        self.start, self.end = start - low, high - low
        self.size = _size(part)


class RunningText:
    """A text that arrives in pieces; `scan` knows what is found in it."""

    __slots__ = ("characters", "direction", "findings", "order", "path", "pieces", "scan", "target")

    def __init__(self, scan: StreamScan, target: Target, path: str, order: int) -> None:
        self.scan = scan
        self.target = target
        self.path = path
        self.order = order
        self.pieces: list[str] = []
        self.characters = 0
        self.findings: list[Finding] = []

    def feed(self, chunk: str, findings: Sequence[Finding]) -> None:
        """Note the next piece, as long as there could be room for it."""
        if self.characters <= MAX_BYTES + OPAQUE_MARGIN_CHARS:
            self.pieces.append(chunk)
        self.characters += len(chunk)
        if findings:
            self.findings += findings


class TextCapture:
    """The texts of one call."""

    __slots__ = ("_noted", "_omitted", "_order", "_plain", "_running", "_secrets")

    def __init__(self) -> None:
        self._plain: dict[Direction, Sequence[Text]] = {}
        """Texts without findings that fit as they are: nearly always all there is. They stand before those noted."""
        self._noted: dict[Direction, list[_Noted]] = {"request": [], "response": []}
        self._running: list[RunningText] = []
        self._secrets: set[str] = set()
        self._order = 0
        self._omitted = 0

    def note(self, direction: Direction, texts: Sequence[Text], findings: Sequence[Finding]) -> None:
        """Note texts that were inspected together."""
        fits = False
        if direction in self._plain:
            self._take_in(direction)
        elif not (self._noted[direction] or self._running):
            fits = _fit_plainly(texts, MAX_TEXTS[direction])
            if fits and not findings:
                self._plain[direction] = texts
                return
        self._note_all(direction, texts, findings, fits=fits)

    def _take_in(self, direction: Direction) -> None:
        """Treat the plain texts like all others: there is more to choose from, or something to mask in them."""
        if texts := self._plain.pop(direction, None):
            self._note_all(direction, texts, (), fits=True)

    def _note_all(
        self, direction: Direction, texts: Sequence[Text], findings: Sequence[Finding], *, fits: bool
    ) -> None:
        """Note each text with its own findings; `fits` where there is room for all of them."""
        if len(findings) >= MAX_FINDINGS:
            self._omitted += len(texts)  # There may be more in them than was reported.
            return
        by_place: dict[tuple[Target, str], list[Finding]] = {}
        for finding in findings:
            by_place.setdefault((finding.target, finding.path), []).append(finding)
        noted = self._noted[direction]
        if not fits and not findings and noted and self._room(direction) < MIN_PART_BYTES:
            self._omitted += len(texts)
            return
        for text in texts if fits else _most_worth(texts, by_place, MAX_TEXTS[direction]):
            self._order += 1
            found = by_place.get((text.target, text.path)) if findings else None
            noted.append(self._note(text, found) if found else _Noted.of(text, (), self._order))
        if not fits:
            self._omitted += max(0, len(texts) - MAX_TEXTS[direction])
            self._trim(direction)

    def open(self, scan: StreamScan, target: Target, path: str) -> RunningText | None:
        """Note a text of the answer that begins to arrive; None when there is no room for it."""
        if len(self._running) >= MAX_TEXTS["response"] or sum(text.characters for text in self._running) > MAX_BYTES:
            self._omitted += 1
            return None
        self._take_in("response")
        self._order += 1
        self._running.append(RunningText(scan, target, path, self._order))
        return self._running[-1]

    def texts(self) -> tuple[CapturedText, ...]:
        """Everything that is kept, masked, requests first, in the order in which it was inspected."""
        for running in self._running:
            self._close(running)
        self._running.clear()
        if self._secrets:
            for direction in self._noted:
                self._take_in(direction)
        plain = [(direction, text) for direction, texts in self._plain.items() for text in texts]
        kept = [
            (direction, noted) for direction, texts in self._noted.items() for noted in sorted(texts, key=_BY_ORDER)
        ]
        shown = [text.text for _, text in plain] + [noted.text for _, noted in kept]
        is_plain = not self._secrets and not may_hold_opaque(shown)
        captured: list[CapturedText] = []
        for direction, text in plain:
            clean = text.text if is_plain else masked(_encodable(text.text), ()).text
            captured.append(CapturedText(direction, text.target, text.path[:MAX_PATH_CHARS], clean))
        captured += [self._captured(direction, noted, is_plain=is_plain) for direction, noted in kept]
        captured.sort(key=_BY_DIRECTION)
        return tuple(captured)

    @property
    def omitted(self) -> int:
        """How many texts found no room."""
        return self._omitted

    def _note(self, text: Text, findings: Sequence[Finding]) -> _Noted:
        noted = _Noted.of(text, findings, self._order)
        counts: dict[str, int] = {}
        for finding in findings:
            if not _is_secret(finding):
                continue
            counts[finding.rule_id] = counts.get(finding.rule_id, 0) + 1
            if counts[finding.rule_id] == MAX_FINDINGS_PER_RULE:
                # Further hits of this rule were not reported.
                noted.end = min(noted.end, finding.end)
                noted.size = _size(text.text[: noted.end])
            value = text.text[finding.value_start : finding.value_end]
            is_whole = len(value) == finding.value_end - finding.value_start >= MIN_SECRET_CHARS
            if is_whole and len(self._secrets) < MAX_SECRETS:
                self._secrets.add(value)
        return noted

    def _close(self, running: RunningText) -> None:
        """A running text becomes a noted one. A call that ends early leaves findings that only the end makes certain."""
        try:
            running.findings += running.scan.close()
        except Exception as error:
            logger.error("the end of a text cannot be inspected, so it is not kept: %s", type(error).__name__)
            self._omitted += 1
            return
        if len(running.findings) >= MAX_FINDINGS or not running.characters:
            self._omitted += bool(running.characters)
            return
        text = "".join(running.pieces)
        findings = [finding for finding in running.findings if finding.start < len(text)]
        noted = self._note(Text(running.target, running.path, text), findings)
        noted.order = running.order
        self._noted["response"].append(noted)
        self._trim("response")

    def _room(self, direction: Direction) -> int:
        return MAX_BYTES - sum([noted.size for noted in self._noted[direction]])

    def _trim(self, direction: Direction) -> None:
        """Keep what is most worth it within the bounds."""
        texts = self._noted[direction]
        if len(texts) <= MAX_TEXTS[direction] and self._room(direction) >= 0:
            return
        kept: list[_Noted] = []
        room = MAX_BYTES
        for noted in sorted(texts, key=lambda noted: noted.rank):
            if len(kept) == MAX_TEXTS[direction] or room < MIN_PART_BYTES:
                break
            if noted.size > room:
                noted.clip(room)
            room -= noted.size
            kept.append(noted)
        self._omitted += len(texts) - len(kept)
        self._noted[direction] = kept

    def _captured(self, direction: Direction, noted: _Noted, *, is_plain: bool) -> CapturedText:
        """One text with what must be masked in it, which is nothing where the texts are plain and nothing was found."""
        if is_plain and not noted.findings:
            return self._shown(direction, noted, noted.text[noted.start : noted.end], ())
        origin = noted.origin
        text = _encodable(noted.text)
        if not noted.findings and not self._secrets:
            clean = masked(text, (), noted.start, noted.end)
            return self._shown(direction, noted, clean.text, ())
        spans = [
            (max(0, item.value_start - origin), min(item.value_end - origin, len(text)))
            for item in noted.findings
            if _is_secret(item)
        ]
        for secret in self._secrets:
            found = text.find(secret)
            while found >= 0:
                spans.append((found, found + len(secret)))
                found = text.find(secret, found + len(secret))
        clean = masked(text, spans, noted.start, noted.end)
        marks = [
            TextMark(clean.place(item.start - origin), clean.place(item.end - origin, is_end=True), item.rule_id)
            for item in noted.findings
            if item.start - origin < noted.end and item.end - origin > noted.start
        ]
        return self._shown(direction, noted, clean.text, tuple(marks))

    @staticmethod
    def _shown(direction: Direction, noted: _Noted, clean: str, marks: tuple[TextMark, ...]) -> CapturedText:
        offset = noted.origin + noted.start
        truncated = offset > 0 or noted.end < len(noted.text)
        return CapturedText(direction, noted.target, noted.path[:MAX_PATH_CHARS], clean, offset, truncated, marks)


def _fit_plainly(texts: Sequence[Text], most: int) -> bool:
    """Whether texts are few and so short that nothing of them has to be left out."""
    if len(texts) > most:
        return False
    size = 0
    for text in texts:
        size += len(text.text) if text.text.isascii() else MAX_CHARACTER_BYTES * len(text.text)
    return size <= MAX_BYTES


def _encodable(text: str) -> str:
    """The text without lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _most_worth(texts: Sequence[Text], flagged: Collection[tuple[Target, str]], limit: int) -> Sequence[Text]:
    """At most `limit` of the texts, in their order; a message with hundreds of tools costs one pass."""
    if len(texts) <= limit:
        return texts
    ranks: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index, text in enumerate(texts):
        rank = 0 if flagged and (text.target, text.path) in flagged else 2 if text.target in _DEFINITIONS else 1
        ranks[rank].append(index)
    best = [index for indexes in ranks for index in reversed(indexes)][:limit]
    return [texts[index] for index in sorted(best)]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _is_secret(finding: Finding) -> bool:
    return finding.sensitive or finding.action is Action.REDACT
