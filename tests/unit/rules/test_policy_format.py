"""The policy document: what is read, what is refused and where, and that writing loses nothing."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rules import policy as policy_module
from rules.packs import SHIPPED, load_directory
from rules.policy import (
    SHIPPED_POLICIES,
    Conditions,
    Policy,
    PolicyError,
    Range,
    dump_policy,
    json_schema_text,
    load_policies,
    load_policy,
    read_document,
    read_policy,
)
from rules.policy_lint import lint_policy, lint_read, remarks
from tests.unit.rules.small_packs import rule as detection

AGENTGUARD: dict[str, Any] = {
    "policy": {
        "default_action": "deny",
        "rules": [
            {"id": "allow-gpt4-models", "match": {"model": "gpt-4*"}, "action": "allow"},
            {
                "id": "block-shell-tools",
                "match": {"tool_name": ["shell_exec", "system", "exec"]},
                "action": "deny",
                "reason": "Shell execution is prohibited",
            },
            {
                "id": "detect-pii-in-prompt",
                "match": {"message_content": {"pattern": r"\b\d{3}-\d{2}-\d{4}\b"}},
                "action": "deny",
                "reason": "Potential SSN detected in prompt",
            },
            {
                "id": "limit-context-size",
                "match": {"message_count": {"gt": 100}},
                "action": "deny",
                "reason": "Message history too long",
            },
        ],
        "rate_limits": [{"id": "global-rate-limit", "scope": "client", "limit": 1000, "window": "1m"}],
    }
}
"""The example of the AgentGuard documentation as YAML decodes it."""


def problems_of(**fields: Any) -> list[tuple[str, str]]:
    _, problems = read_document({"name": "p", **fields}, "p.json")
    return [(problem.pointer, problem.reason) for problem in problems]


def lint_of(**fields: Any) -> list[tuple[str, str]]:
    read = read_policy(json.dumps({"name": "p", **fields}).encode(), "p.json")
    found = lint_read(*read, "p.json", load_directory(SHIPPED))
    return [(problem.pointer, problem.reason) for problem in found]


def remarks_of(**fields: Any) -> list[str]:
    policy, problems = read_document({"name": "p", **fields}, "p.json")
    assert policy is not None
    assert not problems
    return [problem.pointer for problem in remarks(policy, "p.json", load_directory(SHIPPED))]


def test_AG_PE_CFG_the_example_of_agentguard_loads_as_it_is() -> None:
    policy, problems = read_document(AGENTGUARD, "agentguard.yaml", name="agentguard")
    assert problems == []
    assert policy is not None
    assert policy.name == "agentguard"
    assert policy.default_action == "deny"
    assert [rule.id for rule in policy.rules] == [rule["id"] for rule in AGENTGUARD["policy"]["rules"]]
    assert policy.rate_limits[0].window_seconds == 60
    assert lint_policy(policy, "agentguard.yaml") == []


def test_SYP_POL_2_a_policy_written_and_read_again_is_the_same() -> None:
    policy, _ = read_document(AGENTGUARD, "x", name="agentguard")
    assert policy is not None
    written = dump_policy(policy)
    assert load_policy(written, origin="x") == policy
    assert dump_policy(load_policy(written, origin="x")) == written


def test_an_argument_condition_keeps_a_null_apart_from_nothing() -> None:
    rule = {"id": "r", "action": "deny", "match": {"tool_arguments": [{"path": "$.a", "equals": None}]}}
    policy, _ = read_document({"name": "p", "rules": [rule]}, "x")
    assert policy is not None
    assert load_policy(dump_policy(policy), origin="x").rules[0].match.tool_arguments[0].equals is None
    assert json.loads(dump_policy(policy))["rules"][0]["match"]["tool_arguments"] == [{"path": "$.a", "equals": None}]


def test_the_defaults_of_a_policy_change_nothing() -> None:
    policy = Policy(name="p")
    assert (policy.enforcement, policy.default_action, policy.type, policy.block_status) == (
        "enforce",
        "allow",
        "both",
        403,
    )
    assert policy.thresholds.message_block == policy.thresholds.conversation_block == 100
    assert policy.own_pack() is None
    assert policy.pack_names == frozenset()
    assert policy.applies_to("a2a")
    assert dump_policy(policy) == b'{\n  "name": "p"\n}\n'


def test_the_own_detections_are_a_pack_of_their_own() -> None:
    document = detection("OWN-1", {"any": [{"re": "abc"}]}, ("abc", "xyz"))
    policy, _ = read_document({"name": "p", "packs": ["secrets"], "detections": [document]}, "x")
    assert policy is not None
    pack = policy.own_pack()
    assert pack is not None
    assert pack.name == "own-p"
    assert policy.pack_names == {"secrets", "own-p"}
    assert pack.rules == policy.detections


def test_AG_PE_10_every_format_problem_is_named_with_its_place() -> None:
    found = problems_of(
        colour="red",
        rules=[
            {"id": "a", "action": "deni"},
            {"id": "b", "action": "deny", "match": {"message_count": {}}},
            {"id": "c", "action": "deny", "match": {"tool_arguments": [{"path": "$.a"}]}},
            {"id": "d", "action": "deny", "match": {"modell": "x"}},
        ],
        overrides=[{"rules": "*"}, {"action": "log"}],
        rate_limits=[{"id": "r", "scope": "client", "limit": 1, "window": "2d"}],
    )
    assert [pointer for pointer, _ in found] == [
        "/colour",
        "/overrides/0",
        "/overrides/1",
        "/rules/0/action",
        "/rules/1/match/message_count",
        "/rules/2/match/tool_arguments/0",
        "/rules/3/match/modell",
        "/rate_limits/0",
    ]
    assert "`model`" in found[6][1]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [([], ""), ({}, "/name"), ({"name": "Not A Name"}, "/name"), ({"name": "p", "rules": {}}, "/rules")],
)
def test_a_document_that_is_no_policy_is_refused(document: Any, pointer: str) -> None:
    policy, problems = read_document(document, "x")
    assert policy is None
    assert [problem.pointer for problem in problems] == [pointer]


@pytest.mark.parametrize("data", [b"{", b'{"name": "a", "name": "b"}', b"\xff", b" " * (1024 * 1024 + 1)])
def test_bytes_that_are_no_strict_json_are_refused(data: bytes) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(data, origin="x.json")
    assert str(caught.value).startswith("x.json#: ")


def test_a_lone_surrogate_is_refused() -> None:
    policy, problems = read_policy(b'{"name": "p", "title": "\\ud800"}', "x")
    assert policy is None
    assert "surrogate" in problems[0].reason


def test_an_id_stands_for_one_rule_only() -> None:
    rule = {"id": "same", "action": "log"}
    assert problems_of(rules=[rule, rule]) == [("/rules/1/id", "same is already the id of /rules/0")]


def test_risk_levels_must_rise() -> None:
    assert problems_of(thresholds={"risk": {"low": 60}}) == [("/thresholds/risk", "must rise from low to critical")]


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ({"gt": 3}, [4], [3]),
        ({"gte": 3}, [3], [2]),
        ({"lt": 3}, [2], [3]),
        ({"lte": 3}, [3], [4]),
        ({"eq": 3}, [3], [2, 4]),
        ({"gt": 1, "lt": 5}, [2, 4], [1, 5]),
    ],
)
def test_a_range_holds_between_its_bounds(bounds: dict[str, int], inside: list[int], outside: list[int]) -> None:
    given = Range(**bounds)
    assert all(map(given.holds, inside))
    assert not any(map(given.holds, outside))


def test_AG_PE_10_lint_names_what_cannot_work() -> None:
    match = {
        "message_content": {"pattern": "(?=x)y"},
        "tool_arguments": [{"path": "a", "equals": 1}, {"path": "$.a", "matches": "(a"}],
        "schedule": {"cron": "61 * * * *", "time_zone": "Mars/Olympus"},
        "ip": ["10.0.0.0/8", "10.0.0.300"],
        "header": {"x team": "a"},
    }
    found = lint_of(
        packs=["secrets", "no-such-pack", "own-other", "secrets"],
        rules=[
            {"id": "a", "action": "deny", "match": match},
            {"id": "b", "action": "hold"},
            {"id": "h", "action": "hold", "match": {"tool_name": "pay"}},
            {"id": "c", "action": "redact"},
        ],
    )
    assert [pointer for pointer, _ in found] == [
        "/packs/1",
        "/packs/2",
        "/packs/3",
        "/rules/0/match/message_content/pattern",
        "/rules/0/match/tool_arguments/0/path",
        "/rules/0/match/tool_arguments/1/matches",
        "/rules/0/match/schedule/cron",
        "/rules/0/match/schedule/time_zone",
        "/rules/0/match/ip/1",
        "/rules/0/match/header",
        "/rules/1/match",
        "/rules/3/match",
    ]


def test_lint_holds_detections_against_their_own_examples_and_the_ids_of_packs() -> None:
    taken = load_directory(SHIPPED)["secrets"].rules[0].id
    found = lint_of(
        detections=[
            detection("OWN-1", {"any": [{"re": "abc"}]}, ("xyz", "abc")),
            detection(taken, {"any": [{"re": "abc"}]}, ("abc", "xyz")),
        ]
    )
    assert [pointer for pointer, _ in found] == [
        "/detections/0/examples/match/0",
        "/detections/0/examples/no_match/0",
        "/detections/1/id",
    ]


def test_SLG_CTX_1_an_origin_that_no_source_can_lie_below_is_a_problem() -> None:
    assert lint_of(context={"allowed_origins": ["kb://approved/", "https://docs.example.org"]}) == []
    found = lint_of(context={"allowed_origins": ["kb://approved/", "approved", "kb://a/../b"], "risk_threshold": 10})
    assert [pointer for pointer, _ in found] == ["/context/allowed_origins/1", "/context/allowed_origins/2"]
    assert [pointer for pointer, _ in lint_of(context={"risk_threshold": 0})] == ["/context/risk_threshold"]


def test_lint_reports_the_format_first() -> None:
    assert [pointer for pointer, _ in lint_of(packs="secrets")] == ["/packs"]


def test_remarks_name_what_has_no_effect() -> None:
    assert remarks_of() == [""]
    rules = [
        {"id": "a", "action": "allow", "match": {"method": "tools/call"}},
        {"id": "b", "action": "deny", "match": {"group": "staff"}},
    ]
    found = remarks_of(
        type="llm",
        packs=["secrets"],
        rules=rules,
        overrides=[{"rules": "SEC-*", "enabled": False}, {"rules": "X-*", "enabled": False}],
    )
    assert found == ["/rules/0/action", "/rules/0/match/method", "/rules/1/match/group", "/overrides/1"]
    assert remarks_of(type="mcp", rules=[{"id": "a", "action": "deny", "match": {"model": "x"}}]) == [
        "/rules/0/match/model"
    ]
    assert remarks_of(type="mcp", context={}) == ["/context"]
    assert remarks_of(type="mcp", packs=["secrets"], realtime_audio="block") == ["/realtime_audio"]
    assert remarks_of(type="llm", realtime_audio="transcribed") == []
    assert remarks_of(type="llm", context={}, packs=["jailbreak", "indirect-injection"]) == []
    assert remarks_of(default_action="deny", packs=["secrets"]) == ["/default_action"]
    assert remarks_of(packs=["pii"], overrides=[{"packs": ["pii"], "categories": "pii/*", "action": "redact"}]) == []


def test_a_rule_about_every_call_and_one_about_none_are_remarked_upon() -> None:
    """A rule that was just added in the form has no condition yet."""
    assert remarks_of(rules=[{"id": "a", "action": "deny"}]) == ["/rules/0/match"]
    assert remarks_of(rules=[{"id": "a", "action": "alert"}]) == []
    assert remarks_of(rules=[{"id": "a", "action": "allow"}], default_action="deny") == ["/rules/0/match"]
    never = {"schedule": {"cron": "* * 30-31 2 *"}}
    assert remarks_of(rules=[{"id": "a", "action": "deny", "match": never}]) == ["/rules/0/match/schedule/cron"]
    for cron in ("* * 31 1,2 *", "* * 29 2 *", "* * 31 2 mon", "no schedule"):
        assert remarks_of(rules=[{"id": "a", "action": "deny", "match": {"schedule": {"cron": cron}}}]) == []


def test_the_shipped_schema_is_the_one_of_the_structs() -> None:
    file = Path(policy_module.__file__).parent / "schema" / "policy.schema.json"
    assert file.read_text("utf-8") == json_schema_text()


def test_SYP_POL_4_the_shipped_policies_are_sound() -> None:
    packs = load_directory(SHIPPED)
    for name, policy in load_policies().items():
        assert lint_policy(policy, name, packs) == []
        assert remarks(policy, name, packs) == [], name
        assert policy.title, name
        assert policy.description, name


SHIPPED_NAMES = {
    "a2a-standard-security",
    "llm-balanced-security",
    "llm-compliance-gdpr",
    "llm-content-moderation",
    "llm-critical-security",
    "llm-data-redaction",
    "llm-monitoring-only",
    "llm-security",
    "llm-standard-security",
    "mcp-advanced-polymorphic-security",
    "mcp-advanced-security",
    "mcp-critical-security",
    "mcp-encoding-detection-security",
    "mcp-standard-security",
    "monitor-only",
    "skill-security",
}


def test_SYP_POL_4_the_documented_policies_are_shipped() -> None:
    policies = load_policies()
    assert set(policies) == SHIPPED_NAMES
    for name, policy in policies.items():
        assert policy.type == ("both" if name in ("monitor-only", "skill-security") else name.partition("-")[0])
        assert (policy.enforcement == "log_only") is ("monitor" in name)
        weaker = policies.get(name.replace("critical", "standard"), policy)
        assert set(weaker.packs) <= set(policy.packs)


def test_SYP_POL_4_the_basic_policy_is_within_the_standard_one() -> None:
    policies = load_policies()
    assert set(policies["llm-security"].packs) < set(policies["llm-standard-security"].packs)


def test_SYP_POL_4_payloads_that_change_their_form_are_refused_in_each_and_add_up_sooner() -> None:
    policy, plain = load_policies()["mcp-advanced-polymorphic-security"], load_policies()["mcp-advanced-security"]
    rules = [rule for name in policy.packs for rule in load_directory(SHIPPED)[name].rules]
    weak = [rule for rule in rules if rule.action == "alert" and rule.category.startswith("command-injection/")]
    assert weak
    (override,) = policy.overrides
    assert all(any(fnmatchcase(rule.category, glob) for glob in override.categories or ()) for rule in weak)
    assert override.action == "block"
    assert (policy.thresholds.conversation_block or 0) < (plain.thresholds.conversation_block or 0)
    assert {"encoding-evasion", "hidden-text", "command-injection", "sql-injection", "web-code"} <= set(policy.packs)
    assert policy.tainted_arguments == "block"


def test_SYP_POL_4_skills_are_read_wherever_an_agent_meets_them() -> None:
    policy = load_policies()["skill-security"]
    packs = load_directory(SHIPPED)
    targets = {target for name in policy.packs for rule in packs[name].rules for target in rule.targets}
    assert {"document", "resource", "tool_result", "prompt", "tool_args"} <= targets
    (override,) = policy.overrides
    categories = {rule.category for rule in packs["tool-poisoning"].rules}
    assert set(override.categories or ()) <= categories, "each selects a rule"


def test_SYP_POL_4_every_shipped_pack_is_in_force_somewhere() -> None:
    policies = load_policies()
    packs = set(load_directory(SHIPPED))
    assert set(policies["monitor-only"].packs) == packs
    enforced = [policy for policy in policies.values() if policy.enforcement == "enforce"]
    assert {name for policy in enforced for name in policy.packs} == packs


def test_a_directory_with_a_damaged_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no policy"):
        load_policies(tmp_path)
    (tmp_path / "a.json").write_bytes((SHIPPED_POLICIES / "monitor-only.json").read_bytes())
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(PolicyError) as caught:
        load_policies(tmp_path)
    assert [(problem.file, problem.pointer) for problem in caught.value.problems] == [
        ("a.json", "/name"),
        ("b.json", ""),
    ]


def test_conditions_without_anything_are_all_defaults() -> None:
    assert msgspec.to_builtins(Conditions()) == {}


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        (
            {"match": {"message_content": {"pattern": "x", "roles": ["user", "usr"]}}},
            ["/rules/0/match/message_content/roles/1"],
        ),
        ({"match": {"role_count": {"model": {"gt": 3}}}}, ["/rules/0/match/role_count/model"]),
        ({"match": {"message_count": {"gt": 5, "lt": 3}}}, ["/rules/0/match/message_count"]),
        ({"match": {"message_count": {"gt": 5, "lt": 7}, "token_estimate": {"eq": 0}}}, []),
        ({"match": {"token_estimate": {"gt": 5, "lt": 6}}}, ["/rules/0/match/token_estimate"]),
        ({"match": {"token_estimate": {"lt": 0}}}, ["/rules/0/match/token_estimate"]),
        ({"match": {"model": "gpt-*", "method": "tools/call"}}, ["/rules/0/match/model"]),
        ({"action": "tag"}, ["/rules/0"]),
        ({"action": "tag", "tags": ["eu"]}, []),
        ({"action": "alert", "log_only": True}, ["/rules/0/log_only"]),
    ],
)
def test_AG_PE_10_a_rule_that_cannot_do_what_it_says_is_remarked_upon(
    fields: dict[str, Any], pointers: list[str]
) -> None:
    assert remarks_of(rules=[{"id": "r", "action": "deny", **fields}]) == pointers


def test_AG_PE_10_a_pattern_over_messages_has_an_effect_in_mcp_and_hold_has_none_for_models() -> None:
    content = {"message_content": {"pattern": "x"}}
    assert remarks_of(type="mcp", rules=[{"id": "r", "action": "deny", "match": content}]) == []
    held = {"id": "r", "action": "hold", "match": {"tool_name": "x"}}
    assert remarks_of(type="llm", rules=[held]) == ["/rules/0/action"]
    assert remarks_of(type="mcp", rules=[held]) == []


def test_AG_PE_10_a_context_firewall_without_rules_for_documents_is_remarked_upon() -> None:
    context = {"allowed_origins": ["kb://approved/"]}
    assert remarks_of(context=context) == ["/context/risk_threshold"]
    assert remarks_of(context=context, packs=["indirect-injection"]) == []
