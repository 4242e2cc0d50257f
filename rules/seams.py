"""What stands across the seam of two texts that a model reads as one: the parts of a message, and messages of one role that
follow each other.

A message may be sent as several parts or messages, and who wants to get past a rule cuts what it looks for in two. The
surroundings of every seam are read once more, joined as models see them, directly and by a line; what is found there
belongs to the parts in which it lies. However many seams there are, no text is read more than twice again. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from msgspec.structs import replace

from rules.model import Action, Finding, Target, Text

REACH_CHARACTERS: Final = 300
"""Read on either side of a seam; patterns reach hardly further."""
JOINTS: Final = ("", "\n")
_SAID: Final = frozenset(
    {
        Target.SYSTEM_PROMPT,
        Target.PROMPT,
        Target.COMPLETION,
        Target.TOOL_RESULT,
        Target.RESOURCE,
        Target.AGENT_MESSAGE,
        Target.SAMPLING,
    }
)
"""What is said in messages and results; definitions and arguments of tools are texts of their own."""
_IN_MESSAGES: Final = re.compile(
    r"((?:/params)?/(?:messages|input|contents))/\d+/(?:.*/)?"
    r"(?:text|content(?:/\d+)?|output|(?:functionResponse|function_response)/response/.*|toolResult/content/.*)"
)
"""What a message says, and the list in which the messages follow each other; names and ids say nothing."""
_IN_PARTS: Final = re.compile(r"(.*(?:/content|/parts|/system))/\d+/text")
"""A part of a message that stands in no list of messages, and the list of its parts."""
Scan = Callable[[Sequence[Text]], list[Finding]]


class _Joined(NamedTuple):
    """Parts that are read together as one text, and where they begin in it."""

    parts: Sequence[Text]
    starts: Sequence[int]
    text: str


class _Window(NamedTuple):
    """A stretch of a joined text."""

    joined: _Joined
    start: int
    end: int


def across_seams(texts: Sequence[Text], scan: Scan, known: Sequence[Finding]) -> list[Finding]:
    """What `scan` finds across the seams of these texts, placed in them; empty for most, whose messages alternate.

    `known` is what it finds in the texts themselves: a hit inside one part is new where it takes words of the next one.
    """
    windows = [
        window
        for parts in _runs(texts)
        for joint in JOINTS
        if not (joint and _is_spaced(parts))
        for window in _windows(_join(parts, joint))
    ]
    if not windows:
        return []
    found = scan(
        [
            Text(window.joined.parts[0].target, str(number), window.joined.text[window.start : window.end])
            for number, window in enumerate(windows)
        ]
    )
    placed: dict[tuple[str, str, int, int], Finding] = {}
    places = {(finding.rule_id, finding.path) for finding in known}
    begins = {(finding.rule_id, finding.path, finding.start) for finding in known if finding.reversible}
    for finding in found:
        for part in _placed(finding, windows[int(finding.path)], places, begins):
            placed.setdefault((part.rule_id, part.path, part.start, part.end), part)
    return list(placed.values())


def _runs(texts: Sequence[Text]) -> Iterator[list[Text]]:
    """Texts that are read one after the other as if they were one; what somebody else says in between parts them."""
    run: list[Text] = []
    above = ""
    for text in texts:
        if not text.text or text.target is Target.TOOL_NAME:
            continue
        said = _IN_MESSAGES.fullmatch(text.path) or _IN_PARTS.fullmatch(text.path) if text.target in _SAID else None
        if run and (text.target is not run[0].target or (said is not None and said[1] != above)):
            if len(run) > 1:
                yield run
            run = []
        if said is not None:
            run.append(text)
            above = said[1]
    if len(run) > 1:
        yield run


def _is_spaced(parts: Sequence[Text]) -> bool:
    """Whether every seam has a space of its own, so that a line between them would say nothing new."""
    return all(left.text[-1].isspace() or right.text[0].isspace() for left, right in pairwise(parts))


def _join(parts: Sequence[Text], joint: str) -> _Joined:
    starts, position = [], 0
    for part in parts:
        starts.append(position)
        position += len(part.text) + len(joint)
    return _Joined(parts, starts, joint.join(part.text for part in parts))


def _windows(joined: _Joined) -> Iterator[_Window]:
    """The surroundings of the seams; those that meet are one."""
    begin = end = -1
    for seam in joined.starts[1:]:
        low, high = max(0, seam - REACH_CHARACTERS), min(len(joined.text), seam + REACH_CHARACTERS)
        if low > end:
            if end > 0:
                yield _Window(joined, begin, end)
            begin = low
        end = high
    yield _Window(joined, begin, end)


def _placed(
    finding: Finding, window: _Window, known: Container[tuple[str, str]], begins: Container[tuple[str, str, int]]
) -> Iterator[Finding]:
    """The finding, where the parts alone do not have it, in the part in which it begins; one whose value is masked, there or
    on record, in every part that it covers. `begins` are those that a part has by itself and whose values come back."""
    joined = window.joined
    start, end = finding.start + window.start, finding.end + window.start
    first = bisect_right(joined.starts, start) - 1
    last = bisect_right(joined.starts, end - 1) - 1
    if last <= first and (finding.rule_id, joined.parts[first].path) in known:
        return
    left, right = joined.parts[first], joined.parts[min(first + 1, len(joined.parts) - 1)]
    if (finding.rule_id, left.path, start - joined.starts[first]) in begins and not (
        left.text[-1].isdigit() and right.text[0].isdigit()
    ):
        return  # An address at the end of one message does not go on with the first word of the next.
    value = (finding.value_start + window.start, finding.value_end + window.start)
    is_secret = finding.action is Action.REDACT or finding.sensitive
    for index in range(first, last + 1 if is_secret else first + 1):
        begin, part = joined.starts[index], joined.parts[index]
        low, high = (max(0, min(len(part.text), place - begin)) for place in (start, end))
        value_low, value_high = (max(0, min(len(part.text), place - begin)) for place in value)
        if low < high:
            yield replace(
                finding,
                path=part.path,
                start=low,
                end=high,
                value_start=value_low,
                value_end=max(value_low, value_high),
            )
