"""Keeps compiled rulesets on disk: the one place of this package that writes.

The files of a ruleset lie under its digest, which covers the rules, the format, the engine's version and the platform,
and the parts of its databases under theirs, which cover their patterns alone. A cached file is trusted only when it is
ours, private and whole (`loadb` of foreign bytes is unsafe), and is made again otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence, Set
from pathlib import Path

import msgspec

from rules.compiler import (
    CompiledRuleset,
    Mode,
    check_part,
    check_together,
    compile_part,
    compile_ruleset,
    load_database,
    ruleset_digest,
)
from rules.database_parts import Compiled
from rules.hyperscan_database import ENGINE, EngineError
from rules.packs import Pack, dump_packs
from rules.patterns import Expression

try:
    import fcntl
except ImportError:  # Windows: two processes may compile the same, which costs time and harms nothing.
    fcntl = None  # type: ignore[assignment]


class RulesetFiles(msgspec.Struct, frozen=True):
    """Where a compiled set of packs lies on disk."""

    digest: str
    packs_path: Path
    database_path: Path
    packs_sha256: str
    database_sha256: str
    pattern_count: int
    rule_count: int


_DIGEST = re.compile(r"[0-9a-f]{64}")
KEPT_PARTS = 96
"""How many parts, those used last, a cache directory keeps."""
SHA256_BYTES = 32
KEPT_RULESETS = 32
"""How many rulesets, those used last, a cache directory keeps."""


def cached_ruleset(packs: Sequence[Pack], cache_dir: Path, in_use: Collection[str] = ()) -> RulesetFiles:
    """The files of the compiled packs in `cache_dir`, made anew when missing, damaged or foreign.

    Older rulesets are removed, but none whose digest is `in_use`.
    """
    found = find_ruleset(packs, cache_dir)
    if found is not None:
        return found
    ordered = sorted(packs, key=lambda pack: pack.name)
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    compiled = compile_ruleset(ordered, PartCache(cache_dir / "parts"))
    files = _describe(cache_dir, compiled)
    _write_private(files.packs_path, compiled.packs_bytes)
    _write_private(files.database_path, compiled.database_bytes)
    _write_private(_manifest_path(cache_dir, files.digest), msgspec.json.encode(_Manifest.of(files)))
    _remove_old(cache_dir, {files.digest, *in_use})
    return files


def find_ruleset(packs: Sequence[Pack], cache_dir: Path) -> RulesetFiles | None:
    """The files of the compiled packs when they can be had without compiling; raises PackError as compiling would."""
    ordered = sorted(packs, key=lambda pack: pack.name)
    check_together(ordered)
    packs_bytes = dump_packs(ordered)
    digest = ruleset_digest(packs_bytes)
    found = _read_cached(cache_dir, digest, packs_bytes)
    if found is not None:
        with contextlib.suppress(OSError):
            os.utime(_manifest_path(cache_dir, digest))  # It is among the newest again.
    return found


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


class PartCache:
    """Compiles the parts of databases, or takes them from a directory. Safe to share between threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, mode: Mode, wanted: Sequence[Expression]) -> Compiled:
        """A part; raises `EngineError`, and OSError where the directory cannot be written."""
        path = self._directory / f"{_part_digest(mode, wanted)}.part"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            return self._kept(path, mode, wanted)

    def _kept(self, path: Path, mode: Mode, wanted: Sequence[Expression]) -> Compiled:
        with contextlib.suppress(OSError, EngineError, msgspec.DecodeError):
            content = _read_private(path)
            digest, data = content[:SHA256_BYTES], content[SHA256_BYTES:]
            if hashlib.sha256(data).digest() == digest:
                found = msgspec.msgpack.decode(data, type=Compiled)
                check_part(mode, found.data)
                os.utime(path)  # It is among the newest again.
                return found
        made = compile_part(mode, wanted)
        data = msgspec.msgpack.encode(made)
        _write_private(path, hashlib.sha256(data).digest() + data)
        self._remove_old()
        return made

    def _remove_old(self) -> None:
        """Remove all but the newest parts; whatever is missing is compiled again."""
        with contextlib.suppress(OSError):  # Another process may be doing the same; what is left goes the next time.
            parts = sorted(self._directory.glob("*.part"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for path in parts[KEPT_PARTS:]:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file: of several processes that share the directory one compiles, and the others take what it made."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _part_digest(mode: Mode, wanted: Sequence[Expression]) -> str:
    content = hashlib.sha256(f"ostiary-part/2/{ENGINE}/{mode}\n".encode())
    for one in wanted:
        content.update(msgspec.msgpack.encode((one.source, one.flags)))
    return content.hexdigest()


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
