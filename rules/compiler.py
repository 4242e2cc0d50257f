"""From packs to the content of the two files that a worker loads. Pure; `ruleset_cache` keeps what it gives.

A database consists of parts, each compiled for itself: the patterns of the packs that policies share, and those that a
policy adds of its own. A policy that changes actions or adds detections thus needs little or nothing compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import msgspec

from rules.database_parts import Compiled, Part
from rules.hyperscan_database import (
    ENGINE,
    BlockDatabase,
    BlockPart,
    EngineError,
    StreamDatabase,
    StreamPart,
    compile_block,
    compile_stream,
)
from rules.matching import all_patterns, scanned_patterns
from rules.model import Target
from rules.packs import Pack, PackError, Problem, dump_packs
from rules.patterns import (
    ALWAYS,
    Expression,
    PatternKey,
    PatternRefused,
    check,
    expressions,
    extent_of,
    fallback,
    fallback_reach,
    is_common,
    is_telling,
    key_of,
    reach_of,
    regexp,
)
from rules.policy import OWN_PACK_PREFIX
from rules.prefilter import LONG_RUN, Extent, Medium, Reach
from rules.validators import parse as parse_validators
from rules.views import TRIGGERS

FORMAT = 16
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
SHELVES: tuple[frozenset[int], ...] = (
    frozenset({1}),
    frozenset({3}),
    frozenset({2, 3}),
    frozenset({0, 1, 3}),
    frozenset({0, 1, 2, 3}),
)
"""Groups that share databases: a pattern is compiled once, for the first of these that holds all groups it matters to."""
GROUP_OF = {target: number for number, group in enumerate(GROUPS) for target in group}
STREAMED = (Target.COMPLETION, Target.TOOL_ARGS)
"""What arrives in pieces: the texts of an answer, and the arguments of the tool calls in it."""
COMPILE_THREADS = 2
MAX_FOREIGN_FORMS = 8
"""So many are compiled together. More of them, which have many short branches that begin with the same bytes, become an
automaton that follows the whole text; several small parts take a tenth of the time."""
Mode = Literal["block", "stream"]
LONG_RUN_NUMBER = len(TRIGGERS)
EVERYWHERE = (*TRIGGERS, key_of(LONG_RUN, ""))
"""Patterns of the engine's own in every database for whole texts; their numbers are their positions."""
_EVERYWHERE = frozenset(EVERYWHERE)


class DatabaseFile(msgspec.Struct, frozen=True):
    """The content of a database file (MessagePack)."""

    digest: str
    blocks: tuple[tuple[Part, ...], ...]
    """By shelf."""
    streams: tuple[tuple[Part, ...], ...]
    """The same for texts that arrive in pieces."""
    triggers: tuple[Part, ...]
    """The triggers of `rules.views` alone, for the windows of a stream."""
    pattern_count: int
    """Distinct patterns that the engines took."""
    reaches: tuple[Reach | None, ...]
    """By pattern number, see `patterns.reach_of`: whoever loads the database need not take the patterns apart again."""
    extents: tuple[Extent, ...]
    """By pattern number, see `patterns.extent_of`."""
    common: frozenset[int]
    """Numbers of the patterns that too many texts hold to look for them."""
    telling: frozenset[int]
    """Numbers of the patterns that so few texts hold that what must be near is looked for only there."""


class Databases:
    """The loaded content of a database file."""

    def __init__(self, file: DatabaseFile) -> None:
        if {len(file.blocks), len(file.streams)} != {len(SHELVES)}:
            raise EngineError("not a pattern database")
        blocks = [[*map(BlockPart, parts)] for parts in file.blocks]
        streams = [[*map(StreamPart, parts)] for parts in file.streams]
        self.blocks = tuple(BlockDatabase(_for_group(blocks, group)) for group in range(len(GROUPS)))
        self.triggers = BlockDatabase([*map(BlockPart, file.triggers)])
        self.pattern_count = file.pattern_count
        self.reaches = file.reaches
        self.extents = file.extents
        self.common = file.common
        self.telling = file.telling
        self.streams = {target: StreamDatabase(_for_group(streams, GROUP_OF[target])) for target in STREAMED}


Loaded = TypeVar("Loaded")


def _for_group(shelves: Sequence[Sequence[Loaded]], group: int) -> list[Loaded]:
    """The parts that matter to texts of a group."""
    return [part for groups, parts in zip(SHELVES, shelves, strict=True) if group in groups for part in parts]


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


Compile = Callable[[Mode, Sequence[Expression]], Compiled]
"""Gives a part, compiled now or before."""


def compile_part(mode: Mode, wanted: Sequence[Expression]) -> Compiled:
    """A part, compiled now; raises `EngineError`."""
    return compile_block(wanted) if mode == "block" else compile_stream(wanted)


def check_part(mode: Mode, data: bytes) -> None:
    """Raises `EngineError` where data that was compiled before does not fit this machine."""
    if mode == "block":
        BlockPart(Part((), memoryview(data)))
    else:
        StreamPart(Part((), memoryview(data)))


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
        names = ", ".join(pack.name for pack in ordered)
        raise PackError(_refused(ordered) or [Problem(names, "", f"the packs do not compile: {error}")]) from None
    return CompiledRuleset(
        digest=digest,
        packs_bytes=packs_bytes,
        database_bytes=msgspec.msgpack.encode(database),
        rule_count=sum(len(pack.rules) for pack in ordered),
        pattern_count=database.pattern_count,
    )


def _refused(packs: Iterable[Pack]) -> list[Problem]:
    """The patterns that the engines refuse and the unknown validators, by file and JSON pointer; asked where compiling failed."""
    problems: list[Problem] = []
    for pack in packs:
        file = f"{pack.name}.json"
        for number, rule in enumerate(pack.rules):
            for name in ("all", "any", "near", "none"):
                for place, pattern in enumerate(getattr(rule.match, name)):
                    try:
                        check(key_of(pattern.re, pattern.flags))
                    except PatternRefused as error:
                        problems.append(Problem(file, f"/rules/{number}/match/{name}/{place}/re", str(error)))
            for place, validator in enumerate(rule.validators):
                try:
                    parse_validators([validator])
                except ValueError as error:
                    problems.append(Problem(file, f"/rules/{number}/validators/{place}", str(error)))
    return problems


def _compile(packs: Sequence[Pack], keys: Sequence[PatternKey], digest: str, compile: Compile) -> DatabaseFile:
    numbers = {key: number for number, key in enumerate(keys)}
    shelves = _shelves(packs)
    overlooked: set[int] = set()
    always: set[int] = set()
    best_only: set[int] = set()
    """Patterns that are looked for in their best forms alone in a part for whole texts."""
    with ThreadPoolExecutor(COMPILE_THREADS, "compile") as threads:

        def started(mode: Mode, patterns: Sequence[PatternKey]) -> Callable[[], list[Part]]:
            """The compiling of parts, and how to wait for them. Hyperscan compiles without the interpreter's lock."""
            chosen = _by_medium(mode, patterns)
            futures = [threads.submit(compile, mode, [form for _, form in found]) for _, found in chosen]

            def finished() -> list[Part]:
                parts: list[Part] = []
                lost: set[int] = set()
                for (medium, found), future in zip(chosen, futures, strict=True):
                    made = future.result()
                    parts.append(Part(tuple(numbers[key] for key, _ in found), memoryview(made.data), medium))
                    again = [found[position][0] for position in made.overlooked]
                    lost.update(numbers[key] for key in again)
                    otherwise, found_always = _found_otherwise(mode, again, numbers, compile)
                    parts += otherwise
                    always.update(found_always)
                overlooked.update(lost)
                if mode == "block":
                    best_only.update(numbers[key] for key in patterns if numbers[key] not in lost)
                return parts

            return finished

        # The longest work goes first.
        blocks = [[started("block", part) for part in parts] for parts in reversed(shelves)]
        streamed = {GROUP_OF[target] for target in STREAMED}
        streams = [[started("stream", part) for part in parts] for parts in _shelves(packs, streamed)]
        triggers = started("block", TRIGGERS)
        # RE2 takes each or raises, as Hyperscan does: a ruleset without one of its patterns does not come about.
        taken = [regexp(key) for key in keys]
        block_parts = tuple(tuple(part for wait in waits for part in wait()) for waits in reversed(blocks))
        trigger_parts = tuple(triggers())
        not_everywhere = frozenset(overlooked)
        # Where the places are those of one form here and of another there, any place may be one.
        nowhere = always | (overlooked & best_only)
        return DatabaseFile(
            digest=digest,
            blocks=block_parts,
            streams=tuple(tuple(part for wait in waits for part in wait()) for waits in streams),
            triggers=trigger_parts,
            pattern_count=len(taken),
            reaches=tuple(
                None if number in nowhere else fallback_reach(key) if number in not_everywhere else reach_of(key)
                for number, key in enumerate(keys)
            ),
            extents=tuple(extent_of(key, is_overlooked=number in not_everywhere) for number, key in enumerate(keys)),
            common=frozenset(number for number, key in enumerate(keys) if is_common(key)),
            telling=frozenset(number for number, key in enumerate(keys) if is_telling(key)),
        )


def _found_otherwise(
    mode: Mode, keys: Sequence[PatternKey], numbers: Mapping[PatternKey, int], compile: Compile
) -> tuple[list[Part], list[int]]:
    """The parts in which patterns are looked for that the engine overlooks in their best forms, and the numbers of those that
    it overlooks in the other as well, which count as found in every text."""
    tried = list(dict.fromkeys(keys))
    if not tried:
        return [], []
    made = compile(mode, [fallback(key, every=mode == "block") for key in tried])
    parts = [Part(tuple(numbers[key] for key in tried), memoryview(made.data))]
    lost = [numbers[tried[position]] for position in made.overlooked]
    if lost:
        parts.append(Part(tuple(lost), memoryview(compile(mode, [ALWAYS] * len(lost)).data)))
    return parts, lost


def _by_medium(mode: Mode, keys: Sequence[PatternKey]) -> list[tuple[Medium, Sequence[tuple[PatternKey, Expression]]]]:
    """The forms of patterns by where they are looked for. A text in pieces is one stream of bytes, foreign or not."""
    found: dict[Medium, list[tuple[PatternKey, Expression]]] = {}
    for key in keys:
        # Of what the engine looks for itself, the first place is enough: it reads on from there.
        for one in expressions(key, every=mode == "block" and key not in _EVERYWHERE):
            medium = Medium.BYTES if mode == "stream" and one.medium is Medium.FOREIGN else one.medium
            found.setdefault(medium, []).append((key, one))
    return [
        (medium, forms[start : start + size])
        for medium, forms in found.items()
        for size in (MAX_FOREIGN_FORMS if medium is Medium.FOREIGN else len(forms),)
        for start in range(0, len(forms), size)
    ]


def _shelves(packs: Sequence[Pack], streamed: Collection[int] = ()) -> list[list[list[PatternKey]]]:
    """By shelf, the patterns that are compiled together: those of packs that are shared with the engine's own, and what
    packs of a policy's own add to them, which is little and changes often. With `streamed`, only what these groups need."""
    parts: list[list[list[PatternKey]]] = [[[], []] for _ in SHELVES]
    everywhere = frozenset(range(len(GROUPS)))
    shared: dict[PatternKey, int] = {}
    for is_own in (False, True):
        groups = dict.fromkeys(() if is_own or streamed else EVERYWHERE, everywhere)
        for pack in packs:
            if pack.name.startswith(OWN_PACK_PREFIX) is is_own:
                for rule in pack.rules:
                    its = frozenset(GROUP_OF[target] for target in rule.targets)
                    for key in scanned_patterns(rule):
                        groups[key] = groups.get(key, its) | its
        for key, wanted in groups.items():
            if streamed:
                wanted &= frozenset(streamed)
            if not wanted or (key in shared and wanted <= SHELVES[shared[key]]):
                continue
            shelf = next(number for number, its in enumerate(SHELVES) if wanted <= its)
            if not is_own:
                shared[key] = shelf
            parts[shelf][is_own].append(key)
    return parts


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
