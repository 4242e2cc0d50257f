"""What looking for a pattern costs at worst: no rule may slow the gateway down, whoever wrote it.

RE2 takes linear time, and for most patterns next to none. A few, such as `[^x]{1,900}[^y]{1,900}z`, have so many
states alive at once that it falls back to its slow way: 100 µs for a byte, half a minute for a long message. The size of
the program does not tell (a pattern for URLs may have a larger one and never gets there), so every pattern is tried on
texts that keep its counts going: its own characters, alone and together, and those that classes are made of; and on
runs of them that take turns, since many states live where one count ends in the middle of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

from rules.patterns import Find, PatternKey, PatternRefused, check, find_with

PROBE_BYTES = 3_072
"""Of one text: more than the states that a pattern of moderate counts has."""
MIXED_BYTES = 6_144
"""Of a text of runs that take turns: each of them comes several times."""
MIXED_PROBES = 40
MAX_MICROSECONDS_PER_BYTE = 4.0
"""Of processor time. What is shipped takes less than a fifth of it, and most patterns a thousandth."""
_OWN_CHARACTERS = 24
_USUAL_CHARACTERS = "a0 -_./=x\n"
_WIDE_CHARACTER = "é"
"""One of two bytes: a class that takes it has more states."""
_RUN_CHARS = (1, 20, 100, 250, 450, 500, 900)
_PROSE = "the quick brown fox 42 jumps over https://a.example/b?c=d&e=f, "


def check_pattern(key: PatternKey) -> int:
    """The number of groups of a pattern that may be used; raises `PatternRefused` for one that is unsound or slow."""
    groups = check(key)
    check_search_cost(key)
    return groups


def check_search_cost(key: PatternKey, clock: Callable[[], float] = time.thread_time) -> None:
    """Raise `PatternRefused` for a pattern that is slow to look for; `clock` counts seconds of processor time."""
    find = find_with(key)
    for probe in _probes(key.re):
        most = len(probe) * MAX_MICROSECONDS_PER_BYTE / 1e6
        # The first time builds what RE2 remembers of a pattern, and only a slow way stays slow.
        if _seconds(find, probe, clock, most) > most and _seconds(find, probe, clock, most) > most:
            # Without the figure, which is never the same: lint says the same wherever it is asked.
            raise PatternRefused(
                f"it takes {MAX_MICROSECONDS_PER_BYTE:g} µs a byte or more to look for; use smaller counts, or fewer that"
                " follow each other"
            )


def _seconds(find: Find, probe: bytes, clock: Callable[[], float], enough: float) -> float:
    started_at = clock()
    position = 0
    while position <= len(probe) and (spans := find(probe, position, len(probe))) is not None:
        position = max(spans[0][1], position + 1)
        if clock() - started_at > enough:
            break
    return clock() - started_at


def _probes(source: str) -> Iterator[bytes]:
    own = "".join(dict.fromkeys(char for char in source if char.isalnum()))[:_OWN_CHARACTERS]
    for text in (*dict.fromkeys(_USUAL_CHARACTERS + own), _PROSE, own + _USUAL_CHARACTERS):
        yield _filled(text, PROBE_BYTES)
    chosen = Random(0)  # noqa: S311 - the same texts each time: what is refused once is always refused.
    chars = list(dict.fromkeys(_USUAL_CHARACTERS + _WIDE_CHARACTER + own))
    for _ in range(MIXED_PROBES):
        runs = [chosen.choice(chars) * chosen.choice(_RUN_CHARS) for _ in range(chosen.randint(2, 3))]
        yield _filled("".join(runs), MIXED_BYTES)


def _filled(text: str, size: int) -> bytes:
    piece = text.encode()
    return (piece * (size // len(piece) + 1))[:size]
