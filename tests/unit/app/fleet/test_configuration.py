"""From the database to the configuration of the fleet: one broken proxy never touches another."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from app.access.models import ApiKey
from app.access.schemas import CreateKey
from app.clock import utcnow
from app.errors import Unavailable
from app.fleet import rulesets
from app.fleet.models import Proxy
from app.fleet.schemas import UpdateProxy, UpstreamAuthInput
from app.policies.errors import PolicyNotFound
from proxies.contract import DecisionService, UpstreamProxy
from rules import ruleset_cache
from rules.packs import Pack, PackError, Problem
from rules.ruleset_cache import RulesetFiles
from tests.support.features import ADMIN, Bench, features_on


async def test_a_proxy_is_resolved_with_its_credential_rules_and_limits(bench: Bench) -> None:
    auth = UpstreamAuthInput(type="bearer", value="sk-upstream")
    made = await bench.proxy(upstream_auth=auth, allowed_hosts=["gw.example.org"], auto_start=True)
    found = bench.fleet.configuration
    proxy = found.proxies[0]
    assert (proxy.id, proxy.name, proxy.type, proxy.host, proxy.port) == (made.id, "OpenAI", "llm", "127.0.0.1", 4000)
    assert (proxy.upstream_auth.type, proxy.upstream_auth.value) == ("bearer", "sk-upstream")
    assert proxy.allowed_hosts == ("gw.example.org",)
    assert proxy.enforcement == "enforce"
    assert proxy.policy_names == ("llm-standard-security",)
    assert found.auto_start == frozenset({made.id})
    assert found.broken == {}
    ruleset = found.rulesets[0]
    assert ruleset.digest == proxy.ruleset
    assert Path(ruleset.database_path).is_file()
    assert Path(ruleset.packs_path).is_relative_to(bench.settings.data_dir.absolute() / "cache")


async def test_LIM_02_the_largest_request_of_the_settings_reaches_every_proxy(tmp_path: Path, used_data: Path) -> None:
    async with features_on(tmp_path, used_data, max_request_size_mb=3) as bench:
        await bench.proxy()
        await bench.proxy("Two", 4001, type="mcp")
        assert [proxy.limits.max_body_bytes for proxy in bench.fleet.configuration.proxies] == [3 * 1024 * 1024] * 2


async def test_SLG_POL_1_llm_proxies_ask_the_decision_service_of_the_settings(tmp_path: Path, used_data: Path) -> None:
    async with features_on(tmp_path, used_data, opa_url="http://127.0.0.1:8181", opa_fail_mode="open") as bench:
        await bench.proxy()
        await bench.proxy("Two", 4001, type="mcp")
        asked = {proxy.type: proxy.decisions for proxy in bench.fleet.configuration.proxies}
    assert asked == {"llm": DecisionService(url="http://127.0.0.1:8181", fail_open=True), "mcp": None}


async def test_proxies_with_the_same_packs_share_one_ruleset(bench: Bench) -> None:
    await bench.proxy()
    await bench.proxy("Two", 4001)
    await bench.proxy("Three", 4002, type="mcp")
    await bench.proxy("Four", 4003, policy_names=[])
    found = bench.fleet.configuration
    assert found.broken == {}
    assert len({proxy.ruleset for proxy in found.proxies}) == 3
    assert len(found.rulesets) == 3


async def test_AG_PE_9_log_only_of_a_policy_stays_its_own(bench: Bench) -> None:
    await bench.proxy(enforcement="log_only")
    await bench.proxy("Watched", 4001, policy_names=["monitor-only"])
    await bench.proxy("Mixed", 4002, policy_names=["monitor-only", "llm-standard-security"])
    words = {proxy.name: proxy.enforcement for proxy in bench.fleet.configuration.proxies}
    assert words == {"OpenAI": "log_only", "Watched": "enforce", "Mixed": "enforce"}
    documents = {policy.document.name: policy.document for policy in bench.fleet.configuration.policies}
    assert documents["monitor-only"].enforcement == "log_only"
    assert documents["llm-standard-security"].enforcement == "enforce"


async def test_a_disabled_proxy_is_left_out(bench: Bench) -> None:
    made = await bench.proxy()
    await bench.features.proxies.update(ADMIN, made.id, UpdateProxy(enabled=False))
    assert bench.fleet.configuration.proxies == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"upstream_auth": UpstreamAuthInput(type="bearer", value="env:OSTIARY_TEST_UNSET")}, "env:OSTIARY_TEST_UNSET"),
        ({"upstream_auth": UpstreamAuthInput(type="bearer", value="file:/nowhere/key")}, "file:/nowhere/key"),
        ({"policy_names": ["llm-incomplete"]}, "jailbreak"),
    ],
)
async def test_a_proxy_that_cannot_be_resolved_is_broken_with_its_reason_and_alone(
    bench: Bench, changes: dict[str, object], reason: str
) -> None:
    good = await bench.proxy()
    bad = await bench.proxy("Bad", 4001, **changes)
    found = bench.fleet.configuration
    assert set(found.broken) == {bad.id}
    assert reason in found.broken[bad.id]
    by_id = {proxy.id: proxy for proxy in found.proxies}
    assert by_id[bad.id].ruleset == ""
    assert by_id[bad.id].upstream_auth.value == ""
    assert by_id[good.id].ruleset in {source.digest for source in found.rulesets}


async def test_a_reference_is_read_anew_for_every_configuration(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTIARY_TEST_KEY", "first")
    await bench.proxy(upstream_auth=UpstreamAuthInput(type="bearer", value="env:OSTIARY_TEST_KEY"))
    assert bench.fleet.configuration.proxies[0].upstream_auth.value == "first"
    monkeypatch.setenv("OSTIARY_TEST_KEY", "second")
    await bench.fleet.refresh()
    assert bench.fleet.configuration.proxies[0].upstream_auth.value == "second"
    monkeypatch.delenv("OSTIARY_TEST_KEY")
    await bench.fleet.refresh()
    assert len(bench.fleet.configuration.broken) == 1


async def test_SEC_02_a_sealed_credential_that_was_moved_to_another_row_does_not_open(bench: Bench) -> None:
    first = await bench.proxy(upstream_auth=UpstreamAuthInput(type="bearer", value="sk-first"))
    second = await bench.proxy("Two", 4001, upstream_auth=UpstreamAuthInput(type="bearer", value="sk-second"))
    async with bench.database.writer() as session:
        row = await session.get(Proxy, first.id)
        assert row is not None
        await session.execute(
            update(Proxy).where(Proxy.id == second.id).values(upstream_auth_secret=row.upstream_auth_secret)
        )
    await bench.fleet.refresh()
    found = bench.fleet.configuration
    assert set(found.broken) == {second.id}
    assert "sk-" not in found.broken[second.id]
    assert found.proxies[0].upstream_auth.value == "sk-first"


async def test_rules_that_cannot_be_compiled_break_only_the_proxies_that_use_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PackError([Problem(file="x.json", pointer="/rules/0", reason="does not compile")])

    await bench.proxy()
    monkeypatch.setattr(rulesets, "cached_ruleset", refuse)
    other = await bench.proxy("Two", 4001, type="mcp")
    found = bench.fleet.configuration
    assert set(found.broken) == {other.id}
    assert "does not compile" in found.broken[other.id]


async def test_a_compiler_that_fails_in_an_unforeseen_way_breaks_only_the_proxies_that_need_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of the engine")

    good = await bench.proxy()
    with monkeypatch.context() as patched:
        patched.setattr(rulesets, "cached_ruleset", fail)
        other = await bench.proxy("Two", 4001, type="mcp")
        found = bench.fleet.configuration
        assert found.broken == {other.id: "The rules cannot be compiled: RuntimeError, see the log"}
        assert good.id in {proxy.id for proxy in found.proxies if proxy.ruleset}
        assert "of the engine" in caplog.text
    await bench.fleet.refresh()
    assert bench.fleet.configuration.broken == {}


async def test_a_place_for_compiled_rules_that_cannot_be_used_is_named_with_what_to_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/parts")

    await bench.proxy()
    monkeypatch.setattr(rulesets, "cached_ruleset", fail)
    other = await bench.proxy("Two", 4001, type="mcp")
    said = "The rules cannot be compiled: cannot use /somewhere/parts: its disk is full. Make room there."
    assert bench.fleet.configuration.broken == {other.id: said}


async def test_sets_of_rules_are_compiled_one_after_the_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, compile_for_real = 0, 0, rulesets.cached_ruleset

    def counted(packs: Sequence[Pack], directory: Path, in_use: frozenset[str]) -> RulesetFiles:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return compile_for_real(packs, directory, in_use)
        finally:
            at_once -= 1

    monkeypatch.setattr(rulesets, "cached_ruleset", counted)
    library = bench.features.library
    packs = [library.packs_of(names) for names in (["llm-standard-security"], ["mcp-standard-security"], [])]
    await asyncio.gather(*(bench.features.rulesets.of_packs(one) for one in packs))
    assert most == 1


async def test_a_start_of_a_broken_proxy_says_why(bench: Bench) -> None:
    bad = await bench.proxy(upstream_auth=UpstreamAuthInput(type="bearer", value="env:OSTIARY_TEST_UNSET"))
    with pytest.raises(Exception, match="the variable is not set"):
        await bench.features.proxies.start(ADMIN, bad.id)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is compiled before it is set."""
    gate, compile_for_real = threading.Event(), rulesets.cached_ruleset

    def slowly(packs: Sequence[Pack], directory: Path, in_use: frozenset[str]) -> RulesetFiles:
        gate.wait(20)
        return compile_for_real(packs, directory, in_use)

    monkeypatch.setattr(rulesets, "cached_ruleset", slowly)
    yield gate
    gate.set()


async def until_compiled(bench: Bench) -> None:
    async with asyncio.timeout(20):
        while bench.fleet.configuration.compiling:
            await asyncio.sleep(0.01)


async def test_a_proxy_whose_rules_are_being_compiled_is_made_at_once_and_served_by_nobody_until_they_are(
    bench: Bench, gate: threading.Event
) -> None:
    bench.fleet.waits_for_rules = False
    made = await bench.proxy()
    found = bench.fleet.configuration
    assert (found.compiling, found.broken) == ({made.id: "Rules are being compiled."}, {})
    assert found.unfit == {made.id}
    assert found.proxies[0].ruleset == ""
    gate.set()
    await until_compiled(bench)
    found = bench.fleet.configuration
    assert found.unfit == frozenset()
    assert found.proxies[0].ruleset == found.rulesets[0].digest


async def test_a_slow_compilation_keeps_no_other_change_waiting(bench: Bench, gate: threading.Event) -> None:
    bench.fleet.waits_for_rules = False
    key = (await bench.features.keys.create(ADMIN, CreateKey(name="app"))).api_key
    await bench.proxy("Slow", 4001, type="mcp")
    await bench.features.keys.revoke(ADMIN, key.id)
    assert bench.fleet.configuration.api_keys == ()
    assert bench.fleet.configuration.compiling
    gate.set()
    await until_compiled(bench)
    assert bench.fleet.configuration.broken == {}


async def test_a_proxy_waits_for_the_rules_of_the_keys_that_open_it(bench: Bench, gate: threading.Event) -> None:
    bench.fleet.waits_for_rules = False
    made = await bench.proxy(policy_names=[])
    gate.set()
    await until_compiled(bench)
    gate.clear()
    async with bench.database.writer() as session:
        session.add(_key_with_policies("monitor-only"))
    await bench.fleet.refresh()
    assert set(bench.fleet.configuration.compiling) == {made.id}
    gate.set()
    await until_compiled(bench)
    assert bench.fleet.configuration.api_keys[0].assignments["llm"].problem == ""


async def test_the_rules_of_a_proxy_that_serves_are_waited_for(bench: Bench, gate: threading.Event) -> None:
    gate.set()
    made = await bench.proxy()
    await bench.features.proxies.start(ADMIN, made.id)
    gate.clear()
    changing = asyncio.create_task(bench.features.proxies.update(ADMIN, made.id, UpdateProxy(policy_names=[])))
    await asyncio.sleep(0.05)
    assert not changing.done()
    assert bench.fleet.configuration.proxies[0].policy_names == ("llm-standard-security",)
    gate.set()
    await changing
    assert bench.fleet.configuration.proxies[0].policy_names == ()
    assert bench.fleet.configuration.compiling == {}


async def test_whoever_waits_for_rules_hears_that_the_console_stops(bench: Bench, gate: threading.Event) -> None:
    packs = bench.features.library.packs_of(["llm-standard-security"])
    waiting = [asyncio.create_task(bench.features.rulesets.of_packs(packs)) for _ in range(2)]
    await asyncio.sleep(0)
    bench.features.rulesets.close()
    for refused in (*waiting, bench.features.rulesets.at_hand(packs)):
        with pytest.raises(Unavailable, match="shutting down"):
            await refused
    gate.set()


async def test_a_slow_compilation_is_told_to_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate, compile_for_real = threading.Event(), rulesets.cached_ruleset

    def slowly(packs: Sequence[Pack], directory: Path, in_use: frozenset[str]) -> RulesetFiles:
        gate.wait(20)
        return compile_for_real(packs, directory, in_use)

    monkeypatch.setattr(rulesets, "cached_ruleset", slowly)
    monkeypatch.setattr(rulesets, "TELL_AFTER_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger=rulesets.__name__)
    creating = asyncio.create_task(bench.proxy())
    async with asyncio.timeout(20):
        while "being compiled" not in caplog.text:
            await asyncio.sleep(0.01)
    gate.set()
    await creating


async def test_a_set_of_packs_is_compiled_once_however_many_ask(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, compile_for_real = [], rulesets.cached_ruleset

    def counted(packs: Sequence[Pack], directory: Path, in_use: frozenset[str]) -> RulesetFiles:
        asked.append(tuple(pack.name for pack in packs))
        return compile_for_real(packs, directory, in_use)

    monkeypatch.setattr(rulesets, "cached_ruleset", counted)
    scheduler = bench.features.scheduler
    warm_up = next(job for job in scheduler.jobs if job.name == "rulesets")
    await asyncio.gather(scheduler.run(warm_up), scheduler.run(warm_up), bench.proxy())
    assert sorted(asked) == [("prompt-injection", "secrets"), ("secrets",)]
    assert scheduler.reports["rulesets"].failures == 0


@pytest.mark.parametrize("path", ["packs_path", "database_path"])
async def test_rules_whose_files_are_gone_are_compiled_again_before_they_are_named(bench: Bench, path: str) -> None:
    await bench.proxy()
    before = bench.fleet.configuration.rulesets
    Path(getattr(before[0], path)).unlink()
    assert rulesets.missing(before) == {before[0].digest}
    await bench.fleet.refresh()
    assert bench.fleet.configuration.rulesets == before
    assert rulesets.missing(before) == frozenset()


async def test_the_rules_in_use_stay_when_the_cache_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset_cache, "KEPT_RULESETS", 1)
    await bench.proxy()
    await bench.proxy("Two", 4001, type="mcp")
    await bench.proxy("Three", 4002, policy_names=[])
    named = bench.fleet.configuration.rulesets
    assert len(named) == 3
    assert rulesets.missing(named) == frozenset()


async def test_a_retired_policy_breaks_the_proxy_but_not_its_other_settings(bench: Bench) -> None:
    made = await bench.proxy()
    async with bench.database.writer() as session:
        await session.execute(update(Proxy).where(Proxy.id == made.id).values(policy_names=["retired"]))
    changed = await bench.features.proxies.update(ADMIN, made.id, UpdateProxy(description="still here"))
    assert changed.description == "still here"
    assert (changed.policies[0].exists, changed.active_policy_count) == (False, 0)
    assert "retired" in bench.fleet.configuration.broken[made.id]
    with pytest.raises(PolicyNotFound):
        await bench.features.proxies.update(ADMIN, made.id, UpdateProxy(policy_names=["retired", "secrets"]))
    healed = await bench.features.proxies.update(ADMIN, made.id, UpdateProxy(policy_names=["llm-standard-security"]))
    assert healed.active_policy_count == 1
    assert bench.fleet.configuration.broken == {}


async def test_the_way_to_each_upstream_is_resolved(tmp_path: Path, used_data: Path) -> None:
    settings = {"https_proxy": "http://user:pass@proxy.test:3128", "no_proxy": ("direct.test",)}
    async with features_on(tmp_path, used_data, **settings) as bench:
        await bench.proxy(target_url="https://api.test")
        await bench.proxy("Direct", 4001, target_url="https://direct.test")
        await bench.proxy("Plain", 4002, target_url="http://api.test")
        ways = {proxy.name: proxy.upstream_proxy for proxy in bench.fleet.configuration.proxies}
        assert ways == {
            "OpenAI": UpstreamProxy(host="proxy.test", port=3128, authorization="Basic dXNlcjpwYXNz"),
            "Direct": None,
            "Plain": None,
        }
        assert "dXNlcjpwYXNz" not in repr(bench.fleet.configuration)


def _key_with_policies(*names: str) -> ApiKey:
    return ApiKey(
        id="key_1",
        name="app",
        digest="0" * 64,
        prefix="ost_",
        last4="abcd",
        proxy_ids=None,
        policy_names=list(names),
        created_at=utcnow(),
        created_by="admin",
    )
