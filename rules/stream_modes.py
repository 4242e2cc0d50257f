"""What becomes of a streamed answer in which a rule that blocks or masks may hit (RED-STR-9).

- `window`: text in which a match may have begun waits until it is decided; everything before it goes out. The arguments of
  a tool call wait until they are complete: before, nobody can use them.
- `buffer`: nothing of the answer goes out until the whole of it is decided.
- `detect-only`: nothing waits, and in a stream the rule does no more than alert.

A call is judged by several policies; of their modes for one rule the strictest counts, among those under which it blocks or
masks at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from rules.model import Action, Target
from rules.packs import StreamMode

_STRICTNESS: Final[Mapping[StreamMode, int]] = {"detect-only": 0, "window": 1, "buffer": 2}


class StreamedRule(NamedTuple):
    """A detection rule as far as streams are concerned."""

    pack: str
    id: str
    category: str
    action: Action
    targets: frozenset[Target]
    mode: StreamMode


class StreamModes(NamedTuple):
    """What the rules in force ask of the streams of a proxy."""

    held: frozenset[str] = frozenset()
    """Ids of the rules that block what is said: text in which they may hit waits."""
    buffers: bool = False
    """Whether whole answers wait."""
    detect_only: frozenset[tuple[str, str]] = frozenset()
    """Packs and ids of the rules that only alert in a stream."""
    holds_arguments: bool = False
    """Whether the arguments of a tool call wait until they are complete, because a rule blocks what stands in them."""


def strictest(modes: Iterable[StreamMode]) -> StreamMode:
    """The mode that counts where policies differ."""
    return max(modes, key=_STRICTNESS.__getitem__)


def modes_of(rules: Iterable[tuple[StreamedRule, Action, StreamMode]]) -> StreamModes:
    """From rules with the action and the mode that policies give them."""
    held: set[str] = set()
    detect_only: set[tuple[str, str]] = set()
    buffers = holds_arguments = False
    for rule, action, mode in rules:
        if rule.targets.isdisjoint((Target.COMPLETION, Target.TOOL_ARGS)):
            continue
        if mode == "detect-only":
            detect_only.add((rule.pack, rule.id))
        elif mode == "buffer":
            buffers = True
        elif action is Action.BLOCK:
            holds_arguments = holds_arguments or Target.TOOL_ARGS in rule.targets
            if Target.COMPLETION in rule.targets:
                held.add(rule.id)
    return StreamModes(frozenset(held), buffers, frozenset(detect_only), holds_arguments)
