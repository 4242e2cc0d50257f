"""Small rulesets for tests. What their patterns compile to is kept in `.cache` from one run of the tests to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rules.compiler import CompiledRuleset, Mode, compile_ruleset
from rules.engine import Ruleset
from rules.packs import Pack
from rules.patterns import PatternKey
from rules.ruleset_cache import PartCache
from tests.conftest import RULESET_CACHE

KEPT = RULESET_CACHE.parent / "small"


def kept_ruleset(*packs: Pack) -> Ruleset:
    """The packs as a ruleset."""
    compiled = compile_kept(packs)
    return Ruleset.load(compiled.packs_bytes, compiled.database_bytes)


def compile_kept(packs: Sequence[Pack], _compile: object = None) -> CompiledRuleset:
    """As `compile_ruleset`, which it takes the place of."""
    return compile_ruleset(packs, _part)


def _part(mode: Mode, keys: Sequence[PatternKey]) -> bytes:
    # A cache keeps fifty parts; the tests have several hundred, which are spread over sixteen.
    shelf = hashlib.sha256(repr((mode, keys)).encode()).hexdigest()[0]
    return PartCache(KEPT / shelf)(mode, keys)
