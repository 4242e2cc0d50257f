"""From packs to the content of the two files that a worker loads. Pure; `ruleset_cache` keeps what it gives.

A database consists of parts, each compiled for itself: the patterns of the packs that policies share, and those that a
policy adds of its own. A policy that changes actions or adds detections thus needs little or nothing compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

from rules.hyperscan_database import (
    ENGINE,
    BlockDatabase,
    EngineError,
    Part,
    StreamDatabase,
    compile_block,
    compile_stream,
)
from rules.matching import all_patterns, scanned_patterns
from rules.model import Target
from rules.packs import Pack, PackError, Problem, dump_packs
from rules.patterns import PatternKey, PatternRefused, is_common, key_of, reach_of, regexp
from rules.policy import OWN_PACK_PREFIX
from rules.prefilter import LONG_RUN, Reach
from rules.views import TRIGGERS

FORMAT = 8
"""Raise it whenever the meaning of the files changes."""

GROUPS: tuple[frozenset[Target], ...] = (
    frozenset({Target.COMPLETION}),
    frozenset({Target.TOOL_ARGS}),
    frozenset({Target.PROMPT, Target.SYSTEM_PROMPT, Target.DOCUMENT, Target.AGENT_MESSAGE}),
    frozenset(
        {
            *(Target.TOOL_NAME, Target.TOOL_DESCRIPTION, Target.PARAM_DESCRIPTION, Target.SCHEMA),
            *(Target.SERVER_INSTRUCTIONS, Target.TOOL_RESULT, Target.RESOURCE, Target.ELICITATION),
            *(Target.SAMPLING, Target.ERROR),
        }
    ),
)
"""Targets whose texts are scanned together, with the patterns of the rules that read one of them."""
GROUP_OF = {target: number for number, group in enumerate(GROUPS) for target in group}
STREAMED = (Target.COMPLETION, Target.TOOL_ARGS)
"""What arrives in pieces: the texts of an answer, and the arguments of the tool calls in it."""
COMPILE_THREADS = 2
Mode = Literal["block", "stream"]
LONG_RUN_NUMBER = len(TRIGGERS)
EVERYWHERE = (*TRIGGERS, key_of(LONG_RUN, ""))
"""Patterns of the engine's own in every database for whole texts; their numbers are their positions."""


class DatabaseFile(msgspec.Struct, frozen=True):
    """The content of a database file (MessagePack)."""

    digest: str
    blocks: tuple[tuple[Part, ...], ...]
    """By group of targets."""
    streams: dict[str, tuple[Part, ...]]
    """By target, for those that stream and that a rule reads."""
    triggers: Part
    """The triggers of `rules.views` alone, for the windows of a stream."""
    pattern_count: int
    """Distinct patterns that the engines took."""
    reaches: tuple[Reach | None, ...]
    """By pattern number, see `patterns.reach_of`: whoever loads the database need not take the patterns apart again."""
    common: frozenset[int]
    """Numbers of the patterns that too many texts hold to look for them."""


class Databases:
    """The loaded content of a database file."""

    def __init__(self, file: DatabaseFile) -> None:
        if len(file.blocks) != len(GROUPS):
            raise EngineError("not a pattern database")
        self.blocks = tuple(map(BlockDatabase, file.blocks))
        self.triggers = BlockDatabase([file.triggers])
        self.pattern_count = file.pattern_count
        self.reaches = file.reaches
        self.common = file.common
        self.streams = {Target(name): StreamDatabase(data) for name, data in file.streams.items()}


class CompiledRuleset(msgspec.Struct, frozen=True):
    """A compiled set of packs."""

    digest: str
    packs_bytes: bytes
    database_bytes: bytes
    rule_count: int
    pattern_count: int


def pattern_keys(packs: Sequence[Pack]) -> list[PatternKey]:
    """Every distinct pattern of a set of packs; a pattern's number is its position, the engine's own triggers first."""
    rules = [rule for pack in packs for rule in pack.rules]
    used = (key for rule in rules for key in all_patterns(rule))
    return list(dict.fromkeys((*EVERYWHERE, *used)))


def ruleset_digest(packs_bytes: bytes) -> str:
    """The name of a compiled ruleset: SHA-256 over its packs, the format and the engine, as hex."""
    head = f"ostiary-ruleset/{FORMAT}/{ENGINE}\n".encode()
    return hashlib.sha256(head + packs_bytes).hexdigest()


Compile = Callable[[Mode, Sequence[PatternKey]], bytes]
"""Gives the data of a part, compiled now or before."""


def compile_part(mode: Mode, keys: Sequence[PatternKey]) -> bytes:
    """The data of a part, compiled now; raises `EngineError`."""
    return compile_block(keys) if mode == "block" else compile_stream(keys)


def check_part(mode: Mode, data: bytes) -> None:
    """Raises `EngineError` where data that was compiled before does not fit this machine."""
    parts = [Part((), data)]
    if mode == "block":
        BlockDatabase(parts)
    else:
        StreamDatabase(parts)


def compile_ruleset(packs: Sequence[Pack], compile: Compile = compile_part) -> CompiledRuleset:
    """Compile packs; raises `PackError` when two share a name or a rule id, or when an engine refuses a pattern."""
    ordered = sorted(packs, key=lambda pack: pack.name)
    check_together(ordered)
    packs_bytes = dump_packs(ordered)
    digest = ruleset_digest(packs_bytes)
    try:
        keys = pattern_keys(ordered)
        database = _compile(ordered, keys, digest, compile)
    except (EngineError, PatternRefused, ValueError) as error:
        raise PackError([Problem("", "", f"the packs do not compile: {error}")]) from None
    return CompiledRuleset(
        digest=digest,
        packs_bytes=packs_bytes,
        database_bytes=msgspec.msgpack.encode(database),
        rule_count=sum(len(pack.rules) for pack in ordered),
        pattern_count=database.pattern_count,
    )


def _compile(packs: Sequence[Pack], keys: Sequence[PatternKey], digest: str, compile: Compile) -> DatabaseFile:
    numbers = {key: number for number, key in enumerate(keys)}
    own = [pack.name.startswith(OWN_PACK_PREFIX) for pack in packs]

    def wanted(targets: frozenset[Target], first: Sequence[PatternKey] = ()) -> list[list[PatternKey]]:
        """The patterns that matter to texts of these targets, after the `first`: those of packs that are shared, and
        what packs of a policy's own add to them, which is little and changes often."""
        parts: list[list[PatternKey]] = []
        seen = set(first)
        for is_own in (False, True):
            rules = (rule for pack, its in zip(packs, own, strict=True) if its is is_own for rule in pack.rules)
            reading = (scanned_patterns(rule) for rule in rules if not targets.isdisjoint(rule.targets))
            fresh = dict.fromkeys(key for patterns in reading for key in patterns if key not in seen)
            seen |= fresh.keys()
            parts.append(list(fresh) if is_own else [*first, *fresh])
        return [part for part in parts if part]

    with ThreadPoolExecutor(COMPILE_THREADS, "compile") as threads:

        def started(mode: Mode, chosen: Sequence[PatternKey]) -> Callable[[], Part]:
            """The compiling of a part, and how to wait for it. Hyperscan compiles without the interpreter's lock."""
            future = threads.submit(compile, mode, chosen)
            return lambda: Part(tuple(numbers[key] for key in chosen), future.result())

        # The longest work goes first.
        blocks = [[started("block", part) for part in wanted(group, EVERYWHERE)] for group in reversed(GROUPS)]
        streams = {
            target.value: [started("stream", part) for part in parts]
            for target in STREAMED
            if (parts := wanted(frozenset({target})))
        }
        triggers = started("block", TRIGGERS)
        # RE2 takes each or raises, as Hyperscan does: a ruleset without one of its patterns does not come about.
        taken = [regexp(key) for key in keys]
        return DatabaseFile(
            digest=digest,
            blocks=tuple(tuple(part() for part in parts) for parts in reversed(blocks)),
            streams={name: tuple(part() for part in parts) for name, parts in streams.items()},
            triggers=triggers(),
            pattern_count=len(taken),
            reaches=tuple(map(reach_of, keys)),
            common=frozenset(number for number, key in enumerate(keys) if is_common(key)),
        )


def check_together(packs: Sequence[Pack]) -> None:
    """Raises `PackError` when two packs share a name or a rule id."""
    names: set[str] = set()
    owners: dict[str, str] = {}
    problems: list[Problem] = []
    for pack in packs:
        if pack.name.startswith(OWN_PACK_PREFIX):
            continue  # Two policies may hold versions of the same detection; the pack tells their findings apart.
        if pack.name in names:
            problems.append(Problem(pack.name, "/pack", "the pack is given twice"))
        names.add(pack.name)
        for index, rule in enumerate(pack.rules):
            owner = owners.setdefault(rule.id, pack.name)
            if owner != pack.name:
                problems.append(Problem(pack.name, f"/rules/{index}/id", f"{rule.id} is also a rule of {owner!r}"))
    if problems:
        raise PackError(problems)


def load_database(database_bytes: bytes, digest: str) -> Databases:
    """The databases in a file's bytes; raises `EngineError` when it is another ruleset's or does not fit."""
    try:
        file = msgspec.msgpack.decode(database_bytes, type=DatabaseFile)
    except msgspec.DecodeError:
        raise EngineError("not a pattern database") from None
    if file.digest != digest:
        raise EngineError("the pattern database belongs to other packs or another engine")
    return Databases(file)
