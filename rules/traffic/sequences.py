"""Steps that are harmless alone and telling in this order."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from rules.model import Target
from rules.traffic.observation import Observation, Suspicion

WINDOW_SECONDS = 300.0
"""All steps of a sequence, and all its repetitions, lie within this time."""

Step = Callable[[Observation], bool]

_WHO_AM_I = re.compile(r"\bwhoami\b|\bid\s+-[un]\b|\bgroups\b|/etc/sudoers|\bsudo\s+-l\b")
_BECOME = re.compile(r"\bsudo\s+(?!-l\b)\S|\bsu\s+-|\bpkexec\b|\bdoas\s|\bchmod\s+(?:u\+s|\+s|[24]7)")
_SEND = re.compile(r"\b(?:curl|wget|nc|ncat|scp|rsync|ftp|Invoke-WebRequest)\s|https?://", re.IGNORECASE)
MAX_TEXT_CHARS = 16_384


def _method(name: str) -> Step:
    return lambda call: call.method == name


def _argument(pattern: re.Pattern[str]) -> Step:
    def step(call: Observation) -> bool:
        return any(
            pattern.search(text.text, 0, MAX_TEXT_CHARS) for text in call.texts if text.target is Target.TOOL_ARGS
        )

    return step


def _found(*prefixes: str) -> Step:
    return lambda call: any(category.startswith(prefixes) for category in call.categories)


class Sequence(msgspec.Struct, frozen=True):
    """Steps in an order. A call may take several steps; other calls in between do not matter."""

    rule_id: str
    steps: tuple[Step, ...]
    repetitions: int
    """How often the steps must be walked within the window: once is what an ordinary client does at its start."""
    words: str


SEQUENCES = (
    Sequence(
        "SEQUENCE_RECONNAISSANCE_SEQUENCE",
        (_method("tools/list"), _method("resources/list"), _method("tools/call")),
        repetitions=4,
        words="tools/list, resources/list and tools/call",
    ),
    Sequence(
        "SEQUENCE_PRIVILEGE_ESCALATION",
        (_argument(_WHO_AM_I), _argument(_BECOME)),
        repetitions=1,
        words="a look at one's own rights, then a command that raises them",
    ),
    Sequence(
        "SEQUENCE_DATA_EXFILTRATION",
        (_found("secrets/", "path-traversal/", "sensitive-file"), _argument(_SEND)),
        repetitions=1,
        words="a secret or a sensitive file, then an argument that sends something out",
    ),
)


class SequenceState:
    """How far each sequence has come for one source."""

    __slots__ = ("_waiting", "_walked_at")

    def __init__(self) -> None:
        self._waiting = [(0, 0.0)] * len(SEQUENCES)
        """For each sequence the next step, and when its first step was taken."""
        self._walked_at: list[list[float]] = [[] for _ in SEQUENCES]

    def advance(self, call: Observation) -> list[Suspicion]:
        """Take the steps that this call makes."""
        return [
            Suspicion(
                sequence.rule_id, f"{sequence.words}: {sequence.repetitions} time(s) within {WINDOW_SECONDS:.0f} s"
            )
            for number, sequence in enumerate(SEQUENCES)
            if self._walk(number, sequence, call)
        ]

    def _walk(self, number: int, sequence: Sequence, call: Observation) -> bool:
        position, began_at = self._waiting[number]
        if position and call.at - began_at > WINDOW_SECONDS:
            position = 0
        if not sequence.steps[position](call):
            self._waiting[number] = (position, began_at)
            return False
        self._waiting[number] = (position + 1, began_at if position else call.at)
        if position + 1 < len(sequence.steps):
            return False
        self._waiting[number] = (0, 0.0)
        walked = [at for at in self._walked_at[number] if call.at - at <= WINDOW_SECONDS]
        walked.append(call.at)
        complete = len(walked) >= sequence.repetitions
        self._walked_at[number] = [] if complete else walked
        return complete
