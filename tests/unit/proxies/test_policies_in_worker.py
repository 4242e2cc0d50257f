"""Policies of a snapshot in a worker: compiled once, by level, and never less than what the snapshot asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxies.contract import AppliedPolicy, Assignment, Snapshot
from proxies.conversation import MAX_FINDINGS, WINDOW_SECONDS, RecentFindings
from proxies.policies import PolicyCache, PolicyRefused, Protection, protections_of_keys
from proxies.rates import MAX_LIMITS, RateWindows
from proxies.rulesets import read_ruleset
from rules.masking.pending import Pending
from rules.model import Action, Target
from rules.policy import Policy, RateLimit
from rules.policy_evaluation import PolicySet
from tests.masking_rules import masking_ruleset
from tests.support.fleet import ATTACK, KEY, api_key, configuration, held_upstream, phrase_ruleset, proxy, running_fleet
from tests.support.records import finding

WATCH = Policy(name="watch", packs=("fleet-tests",), enforcement="log_only")
ENFORCE = Policy(name="enforce", packs=("fleet-tests",))
OTHER_KEY = "ost_" + "o" * 43


def snapshot(*policies: Policy, **fields: Any) -> Snapshot:
    return Snapshot(1, (), (), (), policies=tuple(AppliedPolicy(policy, 1) for policy in policies), **fields)


def test_compiled_policies_are_kept_between_snapshots() -> None:
    cache = PolicyCache()
    first = cache.begin(snapshot(WATCH, ENFORCE))
    before = first.policies(["watch"], "proxy").policies[0]
    cache.keep(first)
    second = cache.begin(snapshot(WATCH))
    assert second.policies(["watch"], "proxy").policies[0] is before
    assert second.policies(["watch"], "key").policies[0] is not before
    cache.keep(second)
    changed = cache.begin(snapshot(msgspec.structs.replace(WATCH, description="changed")))
    assert changed.policies(["watch"], "proxy").policies[0] is not before


def test_a_policy_that_the_snapshot_lacks_or_that_does_not_compile_is_refused() -> None:
    broken = msgspec.convert(
        {"name": "broken", "rules": [{"id": "r", "action": "deny", "match": {"message_content": {"pattern": "("}}}]},
        Policy,
    )
    compiler = PolicyCache().begin(snapshot(broken))
    with pytest.raises(PolicyRefused, match="lacks the policy gone"):
        compiler.policies(["gone"], "proxy")
    with pytest.raises(PolicyRefused, match="broken cannot be compiled"):
        compiler.policies(["broken"], "proxy")


def test_a_key_whose_policies_cannot_be_had_is_refused_with_the_reason() -> None:
    ruleset = read_ruleset(phrase_ruleset())
    keys = [
        api_key("k0"),
        api_key("k1", assignments={"llm": Assignment(("watch",), "r")}),
        api_key("k2", assignments={"llm": Assignment(("watch",), "missing")}),
        api_key("k3", assignments={"llm": Assignment(("gone",), "r")}),
        api_key("k4", assignments={"llm": Assignment(("watch",), "", "No such pack.")}),
        api_key("k5", assignments={"mcp": Assignment(("watch",), "r")}),
    ]
    found = protections_of_keys(keys, "llm", {"r": ruleset}, PolicyCache().begin(snapshot(WATCH)))
    assert set(found) == {"k1", "k2", "k3", "k4"}
    assert isinstance(found["k1"], Protection)
    assert "cannot be loaded" in str(found["k2"])
    assert "gone" in str(found["k3"])
    assert found["k4"] == "No such pack."


def test_what_a_stream_must_hold_back_follows_the_overrides() -> None:
    ruleset = read_ruleset(phrase_ruleset())
    masking = msgspec.convert(
        {"name": "m", "packs": ["fleet-tests"], "overrides": [{"rules": "T-*", "action": "redact"}]}, Policy
    )
    watching = msgspec.structs.replace(masking, name="w", enforcement="log_only")
    compiler = PolicyCache().begin(snapshot(masking, watching, ENFORCE))
    for names, expected in (
        (["m"], {"T-BLOCK"}),
        (["w"], set()),
        (["enforce"], set()),
        (["enforce", "m"], {"T-BLOCK"}),
    ):
        assert Protection.of(ruleset, compiler.policies(names, "proxy")).redacting == expected
    assert Protection.of(ruleset, compiler.policies(["m"], "proxy"), log_only=True).redacting == frozenset()


def test_LIM_15_the_first_stream_finds_everything_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine builds its automata with the first search, and that is not done on the loop."""
    searched: list[int] = []
    real = Pending.start

    def start(self: Pending, data: bytes, position: int = 0) -> int:
        searched.append(id(self))
        return real(self, data, position)

    monkeypatch.setattr(Pending, "start", start)
    ruleset = masking_ruleset.__wrapped__()  # That of the other tests may have been searched already.
    protection = Protection.of(ruleset, PolicySet())
    protection.prepare()
    for target in (Target.COMPLETION, Target.TOOL_ARGS):
        assert id(ruleset.unfinished(protection.held(target), target)) in searched


def test_the_findings_of_a_session_are_bounded_in_number_and_time() -> None:
    recent = RecentFindings()
    recent.add([finding(action=Action.LOG)], 0.0)
    assert recent.since(0.0) == []
    recent.add([finding(rule_id=f"R-{number}") for number in range(MAX_FINDINGS + 5)], 1.0)
    assert len(recent.since(1.0)) == MAX_FINDINGS
    assert recent.since(1.0)[-1].rule_id == f"R-{MAX_FINDINGS + 4}"
    assert recent.since(1.0 + WINDOW_SECONDS + 0.1) == []


def test_the_counters_of_limits_are_bounded() -> None:
    rates = RateWindows()
    limit = RateLimit(id="l", scope="client", limit=1, window="1m")
    first = rates.of("p", limit)
    assert rates.of("p", limit) is first
    assert rates.of("q", limit) is not first
    for number in range(MAX_LIMITS):
        rates.of(f"p{number}", limit)
    assert rates.of("p", limit) is not first
    assert str(MAX_LIMITS) in repr(rates)


async def test_AG_PE_3_the_policies_of_a_key_apply_instead_of_those_of_the_proxy(tmp_path: Path) -> None:
    watched = api_key("k1", OTHER_KEY, assignments={"llm": Assignment(("watch",), phrase_ruleset().digest)})
    third = "ost_" + "b" * 43
    broken = api_key("k2", third, assignments={"llm": Assignment(("watch",), "", "No such pack.")})
    async with held_upstream() as upstream:
        wanted = proxy("a", upstream.url, policy_names=("enforce",))
        fields = {
            "api_keys": (api_key(), watched, broken),
            "policies": (AppliedPolicy(ENFORCE, 2), AppliedPolicy(WATCH, 5)),
        }
        async with running_fleet(tmp_path, [wanted], **fields) as bench:
            await bench.fleet.start_proxy("prx_a")
            answers = [await bench.ask("prx_a", ATTACK, key=key) for key in (KEY, OTHER_KEY, third)]
            await bench.until(lambda: len(bench.calls) == 3)
    assert [answer.status_code for answer in answers] == [403, 200, 500]
    by_key = {record.principal_id: record for record in bench.calls.values()}
    blocked, passed = by_key["key_1"].decision, by_key["k1"].decision
    assert (blocked.policy, blocked.policy_version, blocked.level) == ("enforce", 2, "proxy")
    assert (passed.policy, passed.policy_version, passed.level) == ("watch", 5, "key")
    assert passed.would_action is Action.BLOCK
    assert by_key["k2"].error_code == "inspection_failed"


async def test_a_proxy_whose_policy_is_missing_fails_with_the_reason(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        wanted = proxy("a", upstream.url, policy_names=("gone",))
        async with running_fleet(tmp_path, [wanted]) as bench:
            await bench.fleet.start_proxy("prx_a")
            await bench.until(lambda: bench.fleet.status("prx_a").reason)
            assert "lacks the policy gone" in bench.fleet.status("prx_a").reason
            assert configuration([wanted]).policies == ()
