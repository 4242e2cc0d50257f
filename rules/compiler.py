"""From packs to the two files that a worker loads, compiled once per content.

`compile_ruleset` is pure. `cached_ruleset` is the one place of this package that writes: it keeps the files under
their digest, which covers the rules, the format, the engine's version and the platform. A cached file is trusted
only when it is ours, private and whole (`loadb` of foreign bytes is unsafe), and is made again otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Collection, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from rules.hyperscan_database import (
    ENGINE,
    BlockDatabase,
    EngineError,
    StreamDatabase,
    compile_block,
    compile_stream,
)
from rules.matching import local_patterns, scanned_patterns
from rules.model import Target
from rules.packs import Pack, PackError, Problem, Rule, dump_packs
from rules.patterns import PatternKey, PatternRefused, key_of, regexp
from rules.policy import OWN_PACK_PREFIX
from rules.prefilter import LONG_RUN
from rules.views import TRIGGERS

FORMAT = 5
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
LONG_RUN_NUMBER = len(TRIGGERS)
EVERYWHERE = (*TRIGGERS, key_of(LONG_RUN, ""))
"""Patterns of the engine's own in every database for whole texts; their numbers are their positions."""


class DatabaseFile(msgspec.Struct, frozen=True):
    """The content of a database file (MessagePack)."""

    digest: str
    blocks: tuple[bytes, ...]
    """By group of targets."""
    streams: dict[str, bytes]
    """By target, for those that stream and that a rule reads."""
    triggers: bytes
    """The triggers of `rules.views` alone, for the windows of a stream."""
    pattern_count: int
    """Distinct patterns that the engines took."""


class Databases:
    """The loaded content of a database file."""

    def __init__(self, file: DatabaseFile) -> None:
        if len(file.blocks) != len(GROUPS):
            raise EngineError("not a pattern database")
        self.blocks = tuple(map(BlockDatabase, file.blocks))
        self.triggers = BlockDatabase(file.triggers)
        self.pattern_count = file.pattern_count
        self.streams = {Target(name): StreamDatabase(data) for name, data in file.streams.items()}


class CompiledRuleset(msgspec.Struct, frozen=True):
    """A compiled set of packs."""

    digest: str
    packs_bytes: bytes
    database_bytes: bytes
    rule_count: int
    pattern_count: int


class RulesetFiles(msgspec.Struct, frozen=True):
    """Where a compiled set of packs lies on disk."""

    digest: str
    packs_path: Path
    database_path: Path
    packs_sha256: str
    database_sha256: str
    pattern_count: int
    rule_count: int


def pattern_keys(packs: Sequence[Pack]) -> list[PatternKey]:
    """Every distinct pattern of a set of packs; a pattern's number is its position, the engine's own triggers first."""
    rules = [rule for pack in packs for rule in pack.rules]
    used = (key for rule in rules for key in (*scanned_patterns(rule), *local_patterns(rule)))
    return list(dict.fromkeys((*EVERYWHERE, *used)))


def ruleset_digest(packs_bytes: bytes) -> str:
    """The name of a compiled ruleset: SHA-256 over its packs, the format and the engine, as hex."""
    head = f"ostiary-ruleset/{FORMAT}/{ENGINE}\n".encode()
    return hashlib.sha256(head + packs_bytes).hexdigest()


def compile_ruleset(packs: Sequence[Pack]) -> CompiledRuleset:
    """Compile packs; raises `PackError` when two share a name or a rule id, or when an engine refuses a pattern."""
    ordered = sorted(packs, key=lambda pack: pack.name)
    _check_together(ordered)
    packs_bytes = dump_packs(ordered)
    digest = ruleset_digest(packs_bytes)
    try:
        keys = pattern_keys(ordered)
        database = _compile([rule for pack in ordered for rule in pack.rules], keys, digest)
    except (EngineError, PatternRefused, ValueError) as error:
        raise PackError([Problem("", "", f"the packs do not compile: {error}")]) from None
    return CompiledRuleset(
        digest=digest,
        packs_bytes=packs_bytes,
        database_bytes=msgspec.msgpack.encode(database),
        rule_count=sum(len(pack.rules) for pack in ordered),
        pattern_count=database.pattern_count,
    )


def _compile(rules: Sequence[Rule], keys: Sequence[PatternKey], digest: str) -> DatabaseFile:
    numbers = {key: number for number, key in enumerate(keys)}

    def wanted(targets: frozenset[Target]) -> list[int]:
        """The numbers of the patterns that matter to texts of these targets."""
        reading = (scanned_patterns(rule) for rule in rules if not targets.isdisjoint(rule.targets))
        return list(dict.fromkeys(numbers[key] for patterns in reading for key in patterns))

    by_group = [[*range(len(EVERYWHERE)), *wanted(group)] for group in GROUPS]
    with ThreadPoolExecutor(COMPILE_THREADS, "compile") as threads:
        # Hyperscan compiles without the interpreter's lock. The longest work goes first.
        blocks = [
            threads.submit(compile_block, [keys[number] for number in chosen], chosen) for chosen in reversed(by_group)
        ]
        streams = {
            target.value: threads.submit(compile_stream, [keys[number] for number in chosen], chosen)
            for target in STREAMED
            if (chosen := wanted(frozenset({target})))
        }
        # RE2 takes each or raises, as Hyperscan does: a ruleset without one of its patterns does not come about.
        taken = [regexp(key) for key in keys]
        return DatabaseFile(
            digest=digest,
            blocks=tuple(future.result() for future in reversed(blocks)),
            streams={name: future.result() for name, future in streams.items()},
            triggers=compile_block(TRIGGERS),
            pattern_count=len(taken),
        )


def _check_together(packs: Sequence[Pack]) -> None:
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


_DIGEST = re.compile(r"[0-9a-f]{64}")
KEPT_RULESETS = 32
"""How many rulesets, those used last, a cache directory keeps."""


def cached_ruleset(packs: Sequence[Pack], cache_dir: Path, in_use: Collection[str] = ()) -> RulesetFiles:
    """The files of the compiled packs in `cache_dir`, made anew when missing, damaged or foreign.

    Older rulesets are removed, but none whose digest is `in_use`.
    """
    ordered = sorted(packs, key=lambda pack: pack.name)
    _check_together(ordered)
    packs_bytes = dump_packs(ordered)
    digest = ruleset_digest(packs_bytes)
    found = _read_cached(cache_dir, digest, packs_bytes)
    if found is not None:
        with contextlib.suppress(OSError):
            os.utime(_manifest_path(cache_dir, digest))  # It is among the newest again.
        return found
    compiled = compile_ruleset(ordered)
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = _describe(cache_dir, compiled)
    _write_private(files.packs_path, compiled.packs_bytes)
    _write_private(files.database_path, compiled.database_bytes)
    _write_private(_manifest_path(cache_dir, digest), msgspec.json.encode(_Manifest.of(files)))
    _remove_old(cache_dir, {digest, *in_use})
    return files


def _remove_old(cache_dir: Path, keep: Set[str]) -> None:
    """Remove all but the newest rulesets. Workers hold theirs in memory: a file may go while somebody else uses it."""
    with contextlib.suppress(OSError):  # Another process may be doing the same; what is left goes the next time.
        manifests = [path for path in cache_dir.glob("*.json") if _DIGEST.fullmatch(path.stem)]
        manifests.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for manifest in manifests[KEPT_RULESETS:]:
            if manifest.stem not in keep:
                for suffix in (".json", ".packs", ".db"):
                    manifest.with_suffix(suffix).unlink(missing_ok=True)


class _Manifest(msgspec.Struct, frozen=True):
    """Written last, so that its presence says that the other two files are whole."""

    packs_sha256: str
    database_sha256: str
    pattern_count: int
    rule_count: int

    @classmethod
    def of(cls, files: RulesetFiles) -> _Manifest:
        return cls(files.packs_sha256, files.database_sha256, files.pattern_count, files.rule_count)


def _manifest_path(cache_dir: Path, digest: str) -> Path:
    return cache_dir / f"{digest}.json"


def _describe(cache_dir: Path, compiled: CompiledRuleset) -> RulesetFiles:
    return RulesetFiles(
        digest=compiled.digest,
        packs_path=cache_dir / f"{compiled.digest}.packs",
        database_path=cache_dir / f"{compiled.digest}.db",
        packs_sha256=hashlib.sha256(compiled.packs_bytes).hexdigest(),
        database_sha256=hashlib.sha256(compiled.database_bytes).hexdigest(),
        pattern_count=compiled.pattern_count,
        rule_count=compiled.rule_count,
    )


def _read_cached(cache_dir: Path, digest: str, packs_bytes: bytes) -> RulesetFiles | None:
    """The cached files when every one of them can be trusted and the database loads here; None otherwise."""
    packs_path, database_path = cache_dir / f"{digest}.packs", cache_dir / f"{digest}.db"
    try:
        manifest = msgspec.json.decode(_read_private(_manifest_path(cache_dir, digest)), type=_Manifest)
        database_bytes = _read_private(database_path)
        if _read_private(packs_path) != packs_bytes:
            return None
        if hashlib.sha256(database_bytes).hexdigest() != manifest.database_sha256:
            return None
        load_database(database_bytes, digest)
    except (OSError, msgspec.DecodeError, EngineError):
        return None
    return RulesetFiles(
        digest=digest,
        packs_path=packs_path,
        database_path=database_path,
        packs_sha256=hashlib.sha256(packs_bytes).hexdigest(),
        database_sha256=manifest.database_sha256,
        pattern_count=manifest.pattern_count,
        rule_count=manifest.rule_count,
    )


def load_database(database_bytes: bytes, digest: str) -> Databases:
    """The databases in a file's bytes; raises `EngineError` when it is another ruleset's or does not fit."""
    try:
        file = msgspec.msgpack.decode(database_bytes, type=DatabaseFile)
    except msgspec.DecodeError:
        raise EngineError("not a pattern database") from None
    if file.digest != digest:
        raise EngineError("the pattern database belongs to other packs or another engine")
    return Databases(file)


def _read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner, who is us, can read or write; raises OSError for any other."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if hasattr(os, "getuid"):
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise PermissionError(f"{path.name} is not private")
        return file.read()


def _write_private(path: Path, data: bytes) -> None:
    """Write through a temporary neighbour, so that a reader sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
