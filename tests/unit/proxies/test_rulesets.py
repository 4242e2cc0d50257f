"""Rulesets of a worker: used as soon as they are loaded, and made ready while calls go on."""

from __future__ import annotations

import asyncio

from proxies.rulesets import RulesetCache
from rules.model import Target, Text
from tests.support.fleet import ATTACK, phrase_ruleset


async def test_LIM_15_no_call_waits_for_patterns_that_are_not_made_yet() -> None:
    cache = RulesetCache()
    source = phrase_ruleset()
    loaded, problems = await cache.load([source])
    ruleset = loaded[source.digest]
    assert problems == {}
    # It can be used before it is ready.
    assert ruleset.scan([Text(Target.PROMPT, "/", ATTACK)], direction="request")

    async with asyncio.timeout(20):
        await asyncio.gather(*cache._preparing.values())

    assert list(ruleset.prepare()) == []
    again, _ = await cache.load([source])
    assert again[source.digest] is ruleset
    assert cache._preparing == {}


async def test_what_is_forgotten_is_not_made_ready_any_more() -> None:
    cache = RulesetCache()
    source = phrase_ruleset()
    await cache.load([source])
    (task,) = cache._preparing.values()
    cache.keep(frozenset())
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert task.cancelled()
    assert cache._preparing == {}


async def test_what_is_forgotten_and_loaded_again_is_made_ready() -> None:
    cache = RulesetCache()
    source = phrase_ruleset()
    await cache.load([source])
    (first,) = cache._preparing.values()
    cache.keep(frozenset())
    await cache.load([source])
    async with asyncio.timeout(20):
        await asyncio.wait([first])
    (second,) = cache._preparing.values()
    assert second is not first
    async with asyncio.timeout(20):
        await second
    assert cache._preparing == {}


async def test_each_step_makes_one_pattern() -> None:
    cache = RulesetCache()
    source = phrase_ruleset()
    loaded, _ = await cache.load([source])
    cache.keep(frozenset())
    regexps = loaded[source.digest]._evaluator.regexps
    counts = [len(regexps.finders) for _ in loaded[source.digest].prepare()]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    assert len(counts) > 1
