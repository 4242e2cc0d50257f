"""Compiled rulesets for sets of policies: each set of packs is compiled once, off the loop, and kept.

Compiling takes seconds of processor time. Whoever changes what is served waits for it before the commit; the fleet, when
it asks for its configuration, does not: a proxy that does not serve yet goes without (`at_hand`) until `on_compiled` says
that there is more, so that nobody else's change, such as a revoked key, stands behind it. The threads are daemons of low
priority: the end of the program does not wait for them, and the calls through the proxies come first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from app.errors import AppError, Unavailable
from app.policies.library import PolicyLibrary
from app.unusable import reason
from proxies.contract import RulesetSource
from rules.compiler import EVERYWHERE, pattern_keys
from rules.packs import Pack, PackError
from rules.ruleset_cache import RulesetFiles, cached_ruleset, find_ruleset

logger = logging.getLogger(__name__)

NICENESS = 10
TELL_AFTER_SECONDS = 1.0
THREAD_NAME = "compile-rules"
REMEMBERED_FILES = 4_096
"""More than a console has in use: of each one only its hash is kept."""
_ONE_AT_A_TIME = threading.Lock()
"""Compiling fills a processor: sets of packs are compiled one after the other, so that there is one left for the calls."""


REMEDY = "See that the disk has room and that the directory of compiled rules can be written, then try again."
"""For whoever asked for rules that cannot be compiled."""


class Compiled(NamedTuple):
    """A compiled ruleset and how many patterns are in it."""

    source: RulesetSource
    pattern_count: int


class _Compilation(NamedTuple):
    """What becomes of one set of packs."""

    result: asyncio.Future[Compiled]
    looked_up: asyncio.Event
    """Set once it is known whether the cache has it; also when it has failed."""


class RulesetUnavailable(Exception):
    """There is no ruleset for these policies; the message is the reason that operators see."""


class Rulesets:
    """The compiled rulesets of this console, in memory by pack names and on disk by content."""

    def __init__(self, library: PolicyLibrary, cache_directory: Path) -> None:
        self._library = library
        self._cache_directory = cache_directory
        self._compiled: dict[tuple[tuple[str, str], ...], _Compilation] = {}
        """By name and version of the packs."""
        self.on_compiled: Callable[[], None] = lambda: None
        """Called when a ruleset that `at_hand` did not have is there, or cannot be made."""
        self._awaited: set[tuple[tuple[str, str], ...]] = set()
        """What `at_hand` did not have."""
        self.is_closed = False
        """Whether the console is shutting down."""
        self._in_use: set[str] = set()
        """Digests whose files stay: those of the newest configuration, and what was asked for since."""

    def __repr__(self) -> str:
        return f"<Rulesets {len(self._compiled)}>"

    async def of(self, policy_names: Sequence[str]) -> RulesetSource:
        """The ruleset of these policies together; raises RulesetUnavailable."""
        try:
            packs = self._library.packs_of(policy_names)
        except AppError as error:
            raise RulesetUnavailable(error.message) from error
        return await self.of_packs(packs)

    def is_ready(self, packs: Sequence[Pack]) -> bool:
        """Whether the ruleset of these packs can be had without compiling."""
        found = self._compiled.get(_key(packs))
        return found is not None and _has_succeeded(found.result) and not _is_gone(found.result)

    def pattern_counts(self, packs: Sequence[Pack]) -> tuple[int, int | None]:
        """(distinct patterns that the packs declare, those in their compiled ruleset; None while there is none).

        Without those of the engine's own, which every ruleset holds.
        """
        declared = len(pattern_keys(packs)) - len(EVERYWHERE)
        if not self.is_ready(packs):
            return declared, None
        return declared, self._compiled[_key(packs)].result.result().pattern_count - len(EVERYWHERE)

    async def of_packs(self, packs: Sequence[Pack]) -> RulesetSource:
        """The ruleset of these packs together; raises RulesetUnavailable, and Unavailable when the console stops."""
        compilation = self._compilation(packs)
        try:
            # Shielded: whoever stops waiting does not take the ruleset away from the others.
            source = (await asyncio.shield(compilation.result)).source
        except Unavailable:
            raise
        except Exception as error:
            # Whatever is wrong with one set of packs stays with the proxies and keys that want it.
            if self._compiled.pop(_key(packs), None) is not None and not isinstance(error, PackError | OSError):
                logger.error("compiling rules failed in an unforeseen way", exc_info=error)
            raise RulesetUnavailable(f"The rules cannot be compiled: {self._reason(error)}") from error
        self._in_use.add(source.digest)
        return source

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError):
            path = Path(os.fsdecode(error.filename or self._cache_directory))
            return f"cannot use {path}: {reason(error, path)}"
        return str(error) if isinstance(error, PackError) else f"{type(error).__name__}, see the log"

    async def at_hand(self, packs: Sequence[Pack]) -> RulesetSource | None:
        """The ruleset when it need not be compiled; None while it is, and `on_compiled` is called at its end.

        Raises as `of_packs`.
        """
        compilation = self._compilation(packs)
        await compilation.looked_up.wait()
        if compilation.result.done():
            return await self.of_packs(packs)
        key = _key(packs)
        if key not in self._awaited:
            self._awaited.add(key)
            compilation.result.add_done_callback(lambda _: self._note_compiled(key))
        return None

    def close(self) -> None:
        """Whoever waits for rules hears that the console is shutting down; the threads end with the program."""
        self.is_closed = True
        for compilation in self._compiled.values():
            if not compilation.result.done():
                compilation.result.set_exception(_shutting_down())
                compilation.looked_up.set()

    def _compilation(self, packs: Sequence[Pack]) -> _Compilation:
        if self.is_closed:
            raise _shutting_down()
        key = _key(packs)
        found = self._compiled.get(key)
        if found is None or _is_gone(found.result):
            if found is not None:
                logger.warning("Compiled rules were changed or removed on disk, and are made anew")
            found = _compile_in_thread(packs, self._cache_directory, frozenset(self._in_use))
            self._compiled[key] = found
            _tell_when_it_takes_long(found.result, len(packs))
        return found

    def _note_compiled(self, key: tuple[tuple[str, str], ...]) -> None:
        self._awaited.discard(key)
        if not self.is_closed:
            self.on_compiled()

    def keep_only(self, digests: Iterable[str]) -> None:
        """Let the files of all other rulesets go when the cache is full."""
        self._in_use = set(digests)

    async def prepare(self, policy_names: Sequence[str]) -> None:
        """Compile ahead of a change. What is wrong is reported when the change takes effect, as a broken proxy."""
        try:
            await self.of(policy_names)
        except RulesetUnavailable as error:
            logger.warning("No ruleset for %s: %s", ", ".join(policy_names) or "no policies", error)

    async def warm_up(self) -> None:
        """Compile the policies that new proxies get, so that the first proxy has its rules at once. Others are compiled when
        somebody chooses them: all of them together would keep a small machine busy for minutes."""
        for name in (*self._library.defaults("llm"), *self._library.defaults("mcp")):
            await self.prepare([name])


def is_compiling() -> bool:
    """Whether a thread of this process compiles rules."""
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())


def missing(sources: Iterable[RulesetSource]) -> frozenset[str]:
    """The digests whose files are gone or are no longer what was compiled: the cache is bounded, another console may share
    it, and no worker loads a file that was changed."""
    return frozenset(source.digest for source in sources if not _is_whole(source))


def _is_whole(source: RulesetSource) -> bool:
    files = ((source.packs_path, source.packs_sha256), (source.database_path, source.database_sha256))
    try:
        return all(_sha256(path, _stamp(path)) == wanted for path, wanted in files)
    except OSError:
        return False


def _stamp(path: str) -> tuple[int, int, int]:
    """What changes when somebody writes to a file or puts another in its place."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_ctime_ns


@lru_cache(maxsize=REMEMBERED_FILES)
def _sha256(path: str, stamp: tuple[int, int, int]) -> str:
    """Of a file as it was with this stamp: it is read again only when it was changed."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(packs: Sequence[Pack]) -> tuple[tuple[str, str], ...]:
    return tuple((pack.name, pack.version) for pack in packs)


def _shutting_down() -> Unavailable:
    return Unavailable("The console is shutting down.")


def _tell_when_it_takes_long(compiling: asyncio.Future[Compiled], pack_count: int) -> None:
    """Proxies wait for their rules: after an upgrade nobody should wonder why."""
    notice = asyncio.get_running_loop().call_later(
        TELL_AFTER_SECONDS,
        logger.info,
        "The rules of %d packs are being compiled, which takes a while and happens once",
        pack_count,
    )
    compiling.add_done_callback(lambda _: notice.cancel())


def _has_succeeded(compiling: asyncio.Future[Compiled]) -> bool:
    return compiling.done() and compiling.exception() is None


def _is_gone(compiling: asyncio.Future[Compiled]) -> bool:
    return _has_succeeded(compiling) and bool(missing([compiling.result().source]))


def _compile_in_thread(packs: Sequence[Pack], cache_directory: Path, in_use: frozenset[str]) -> _Compilation:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Compiled] = loop.create_future()
    # Retrieved here: of a ruleset for which nobody waits any more, nobody need hear that it failed.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    looked_up = asyncio.Event()

    def settle(result: Compiled | None, error: Exception | None) -> None:
        looked_up.set()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def work() -> None:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        result, failure = None, None
        try:
            found = find_ruleset(packs, cache_directory)
            if found is None:
                loop.call_soon_threadsafe(looked_up.set)
                with _ONE_AT_A_TIME:
                    found = cached_ruleset(packs, cache_directory, in_use)
            result = _compiled(found)
            missing([result.source])  # Reads the files here rather than, the first time, on the loop.
        except Exception as error:  # Whatever it is belongs to the one who waits for the future.
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            logger.info("The console ended while rules were being compiled")

    threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()
    return _Compilation(future, looked_up)


def _compiled(files: RulesetFiles) -> Compiled:
    source = RulesetSource(
        digest=files.digest,
        packs_path=str(files.packs_path),
        database_path=str(files.database_path),
        packs_sha256=files.packs_sha256,
        database_sha256=files.database_sha256,
    )
    return Compiled(source, files.pattern_count)
