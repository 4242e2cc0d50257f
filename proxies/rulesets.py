"""Compiled rulesets, loaded once per digest from the files that the console names."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Set
from functools import partial
from pathlib import Path

from proxies.contract import RulesetSource
from rules.engine import Ruleset

logger = logging.getLogger(__name__)


PREPARING_PAUSE_SECONDS = 0.002
"""After each pattern that is made ready: calls go on meanwhile."""


class RulesetRefused(Exception):
    """A ruleset that must not be loaded, with the reason."""


class RulesetCache:
    """The rulesets in use. Loading happens in a thread, so that traffic goes on; what is loaded is used at once and made ready
    bit by bit, so that no call waits for many patterns at a time."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Ruleset] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<RulesetCache {len(self._by_digest)}>"

    async def load(self, sources: Iterable[RulesetSource]) -> tuple[dict[str, Ruleset], dict[str, str]]:
        """The rulesets by digest, and by digest the reason why one cannot be had."""
        loaded: dict[str, Ruleset] = {}
        problems: dict[str, str] = {}
        for source in sources:
            try:
                ruleset = self._by_digest.get(source.digest)
                if ruleset is None:
                    ruleset = await asyncio.to_thread(read_ruleset, source)
                    self._prepare(source.digest, ruleset)
            except Exception as error:
                # Whatever is wrong with one ruleset (files, foreign bytes, the engine) must stay with its proxies.
                logger.error("ruleset %s cannot be loaded: %s: %s", source.digest, type(error).__name__, error)
                problems[source.digest] = str(error) or type(error).__name__
                continue
            self._by_digest[source.digest] = loaded[source.digest] = ruleset
        return loaded, problems

    def keep(self, digests: Set[str]) -> None:
        """Forget the rulesets that no proxy uses any more; calls in flight keep theirs."""
        self._by_digest = {digest: ruleset for digest, ruleset in self._by_digest.items() if digest in digests}
        for digest, task in self._preparing.items():
            if digest not in digests:
                task.cancel()

    def _prepare(self, digest: str, ruleset: Ruleset) -> None:
        task = self._preparing[digest] = asyncio.get_running_loop().create_task(_prepare(ruleset))
        task.add_done_callback(partial(self._prepared, digest))

    def _prepared(self, digest: str, task: asyncio.Task[None]) -> None:
        # A ruleset that was forgotten and is loaded again has another task by now.
        if self._preparing.get(digest) is task:
            del self._preparing[digest]


async def _prepare(ruleset: Ruleset) -> None:
    for _ in ruleset.prepare():
        await asyncio.sleep(PREPARING_PAUSE_SECONDS)


def read_ruleset(source: RulesetSource) -> Ruleset:
    """Load one ruleset; raises RulesetRefused for missing files and for bytes that the console did not vouch for.

    Loading a foreign Hyperscan database is unsafe (it is native code's data), so the SHA-256 is compared first.
    """
    packs = _read_verified(source.packs_path, source.packs_sha256)
    database = _read_verified(source.database_path, source.database_sha256)
    return Ruleset.load(packs, database)


def _read_verified(path: str, sha256: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RulesetRefused(f"A rule file cannot be read ({error.strerror}).") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RulesetRefused("A rule file was changed after it was compiled.")
    return data
