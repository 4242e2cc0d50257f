"""The two sides of a call as the page shows them: what was said by whom, with findings in place and rules in the margin.

A side shows what matters within a budget of characters: parts with findings, then the end of the conversation, and
definitions of tools only where there is nothing else. The rest is one click away, so that the page stays small whatever
a call holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from markupsafe import Markup

from app.http.marked import SEVERITIES, Highlight, highlighted, reindented
from app.traffic.schemas import CallDetail, FindingView, TextView

Direction = Literal["request", "response"]
SIDE_CHARACTERS = 3_000
PART_CHARACTERS = 900
LEAD_CHARACTERS = 200
"""Shown before the first finding of a long part."""

_LABELS = {
    "prompt": "user",
    "system_prompt": "system",
    "completion": "assistant",
    "tool_args": "tool call",
    "tool_name": "tool name",
    "tool_result": "tool result",
    "tool_description": "tool definition",
    "param_description": "tool definition",
    "schema": "tool definition",
    "server_instructions": "server instructions",
    "agent_message": "agent",
    "sampling": "sampling",
    "elicitation": "question to the user",
}
_DEFINITIONS = frozenset({"tool_name", "tool_description", "param_description", "schema", "server_instructions"})
_CONVERSATION = ("/messages", "/input", "/prompt", "/params", "/contents")


class Note(msgspec.Struct, frozen=True):
    """A rule in the margin of a part."""

    rule_id: str
    pack: str
    title: str
    severity: str
    count: int


class Part(msgspec.Struct, frozen=True):
    """One text of a side. `label` is empty where the part before has the same and belongs to the same message."""

    label: str
    path: str
    html: Markup
    notes: list[Note]
    skipped: int
    """Characters before what is shown."""
    remaining: int
    """Characters behind what is shown that the side holds when it is shown whole."""
    cut: bool
    """Whether the capture itself ends here before the text did."""


class Side(msgspec.Struct, frozen=True):
    """One direction of a call."""

    direction: Direction
    parts: list[Part]
    characters: int
    """Of everything that was kept."""
    hidden: int
    """Parts that are shown only when the side is shown whole."""
    is_whole: bool


def side_of(call: CallDetail, direction: Direction, *, whole: bool = False) -> Side:
    """The side of a call; `whole` shows everything that was kept."""
    texts = [text for text in call.texts if text.direction == direction]
    shown = list(range(len(texts))) if whole else _worth_showing(texts)
    findings = {finding.rule_id: finding for finding in call.findings}
    parts: list[Part] = []
    before = ("", "")
    for index in shown:
        text = texts[index]
        here = (_label(text), _message(text.path))
        parts.append(_part(text, findings, label="" if here == before else here[0], whole=whole))
        before = here
    return Side(
        direction=direction,
        parts=parts,
        characters=sum(len(text.text) for text in texts),
        hidden=len(texts) - len(shown),
        is_whole=not any(part.remaining or part.skipped for part in parts) and len(shown) == len(texts),
    )


def _worth_showing(texts: Sequence[TextView]) -> list[int]:
    said = [index for index, text in enumerate(texts) if text.marks or text.target not in _DEFINITIONS]
    room = SIDE_CHARACTERS
    chosen: list[int] = []
    for index in sorted(said or range(len(texts)), key=lambda index: (not texts[index].marks, -index)):
        if chosen and room < min(len(texts[index].text), PART_CHARACTERS):
            continue
        room -= min(len(texts[index].text), PART_CHARACTERS)
        chosen.append(index)
    return sorted(chosen)


def _part(text: TextView, findings: dict[str, FindingView], *, label: str, whole: bool) -> Part:
    highlights = [
        Highlight(mark.start, mark.end, findings[mark.rule_id].severity, (mark.rule_id,))
        for mark in text.marks
        if mark.rule_id in findings
    ]
    content = text.text
    if layout := reindented(content):
        content = layout.text
        highlights = [
            span._replace(start=layout.places[span.start], end=layout.places[span.end - 1] + 1)
            for span in highlights
            if 0 <= span.start < span.end <= len(text.text)
        ]
    start, end = (0, len(content)) if whole else _window(content, highlights)
    inside = [
        span._replace(start=max(0, span.start - start), end=min(end, span.end) - start)
        for span in highlights
        if span.start < end and span.end > start
    ]
    return Part(
        label=label,
        path=text.path,
        html=highlighted(content[start:end], inside),
        notes=_notes(text, findings),
        skipped=start,
        remaining=len(content) - end,
        cut=text.truncated,
    )


def _window(content: str, highlights: Sequence[Highlight]) -> tuple[int, int]:
    """What is shown of a text: from shortly before its first finding where that lies far behind the beginning."""
    if len(content) <= PART_CHARACTERS:
        return 0, len(content)
    first = min((span.start for span in highlights), default=0)
    start = max(0, first - LEAD_CHARACTERS) if first > PART_CHARACTERS // 2 else 0
    return start, min(len(content), start + PART_CHARACTERS)


def _notes(text: TextView, findings: dict[str, FindingView]) -> list[Note]:
    counts: dict[str, int] = {}
    for mark in text.marks:
        counts[mark.rule_id] = counts.get(mark.rule_id, 0) + 1
    notes = [
        Note(rule_id, findings[rule_id].pack, findings[rule_id].title, findings[rule_id].severity, count)
        for rule_id, count in counts.items()
        if rule_id in findings
    ]
    return sorted(notes, key=lambda note: -SEVERITIES.index(note.severity))


def _label(text: TextView) -> str:
    if text.target == "prompt" and not text.path.startswith(_CONVERSATION):
        return "parameter"
    return _LABELS.get(text.target, text.target.replace("_", " "))


def _message(path: str) -> str:
    return "/".join(path.split("/")[:3])
