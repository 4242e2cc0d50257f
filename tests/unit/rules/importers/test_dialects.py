"""Policies of other products become ours, and the report names everything that did not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rules.compiler import compile_ruleset
from rules.engine import Ruleset
from rules.importers.importing import import_policy
from rules.importers.report import Imported, ImportRefused
from rules.model import Target, Text
from rules.policy import Policy, dump_policy, load_policy, read_document
from rules.policy_evaluation import CompiledPolicy, PolicySet
from rules.policy_lint import lint_policy


def brought(document: Any, name: str = "file") -> Imported:
    data = document if isinstance(document, str) else json.dumps(document)
    return import_policy(data.encode(), name=name)


def sound(imported: Imported) -> Policy:
    """The imported policy, which must be one that can be published."""
    policy, problems = read_document(imported.document, "file")
    assert problems == []
    assert policy is not None
    assert lint_policy(policy, "file") == []
    return policy


def notes(imported: Imported) -> dict[str, str]:
    return {note.pointer: note.reason for note in imported.notes}


ANCESTOR = {
    "policyName": "Workshop Security",
    "version": "2.0",
    "severity": "Critical",
    "riskThresholds": {"critical": 50, "high": 30, "medium": 15, "low": 5},
    "rules": [
        {
            "id": "TOOL_POISON_001",
            "name": "Poisoned tool",
            "category": "mcp_specific",
            "severity": "Critical",
            "patterns": [r"(?i)hidden\s+order", r"(?=ahead)x", r"(a)\1"],
            "enabled": True,
        },
        {
            "id": "X1",
            "title": "Off",
            "severity": "Low",
            "patterns": ["abc[0-9]{3}"],
            "enabled": False,
            "conditions": [1],
        },
        {"id": "X1", "title": "Nothing left", "severity": "Low", "patterns": ["(?!x)y"]},
    ],
    "blockedPatterns": [
        {"pattern": "wipe /disk (now)", "type": "contains", "category": "Command Injection", "description": "Wiping"},
        {"pattern": "whisper", "action": "warn", "message": "Whispering"},
        {"pattern": "all of it", "type": "exact", "action": "vaporise"},
    ],
    "polymorphicPatterns": [
        {
            "name": "variants_of_a_call",
            "severity": "critical",
            "weightedVariants": [{"pattern": r";\s*call", "weight": 3}, {"pattern": r"\|\s*call\b", "weight": 1}],
            "threshold": 2,
            "maxMatches": 5,
        }
    ],
    "behavioralPatterns": [{"name": "many_links", "severity": "medium", "patterns": ["https?://"], "threshold": 5}],
    "whitelistPatterns": [{"pattern": "fine"}],
    "allowedTools": ["search"],
    "author": "somebody",
}


def test_shape_1_rules_blocked_patterns_variants_and_behaviour() -> None:
    imported = brought(ANCESTOR)
    policy = sound(imported)
    assert (policy.name, policy.title, policy.type) == ("workshop-security", "Workshop Security", "both")
    by_id = {rule.id: rule for rule in policy.detections}
    assert list(by_id) == [
        "TOOL-POISON-001",
        "CUSTOM-X1",
        "BLOCKED-1",
        "BLOCKED-2",
        "BLOCKED-3",
        "VARIANTS-OF-A-CALL",
        "MANY-LINKS",
    ]
    poison = by_id["TOOL-POISON-001"]
    assert [(pattern.re, pattern.flags) for pattern in poison.match.any] == [(r"hidden\s+order", "i")]
    assert (poison.action, poison.severity, poison.score) == ("alert", "critical", 50)
    assert (by_id["BLOCKED-1"].action, by_id["BLOCKED-1"].confidence) == ("block", "high")
    assert by_id["BLOCKED-1"].match.any[0].re == r"wipe\ /disk\ \(now\)"
    assert by_id["BLOCKED-2"].action == "alert"
    assert by_id["BLOCKED-3"].match.any[0].re == r"^all\ of\ it$"
    assert by_id["VARIANTS-OF-A-CALL"].match.min_count == 2
    assert by_id["MANY-LINKS"].match.min_count == 5
    assert [(override.rules, override.enabled) for override in policy.overrides] == [(("CUSTOM-X1",), False)]
    said = notes(imported)
    assert "look-ahead" in said["/rules/0/patterns/1"]
    assert "back-references" in said["/rules/0/patterns/2"]
    assert "left out" in said["/rules/2"]
    assert "vaporise" in said["/blockedPatterns/2/action"]
    for pointer in ("/version", "/severity", "/author", "/whitelistPatterns", "/allowedTools", "/rules/1/conditions"):
        assert pointer in said
    assert said["/polymorphicPatterns/0/weightedVariants/0/weight"].startswith("variants count alike")
    assert said["/polymorphicPatterns/0/maxMatches"]


def test_shape_2_policy_builder_with_blocked_and_redact_patterns() -> None:
    imported = brought(
        {
            "policyName": "Org Data",
            "policy_type": "llm",
            "severity": "High",
            "rules": [
                {
                    "id": "COMPANY_001",
                    "name": "Employee id",
                    "category": "Data Protection",
                    "severity": "Medium",
                    "description": "Our numbers",
                    "patterns": [r"\b(EMP|EMPL)[-_]?\d{6}\b"],
                }
            ],
            "blocked_patterns": [
                {"pattern": r"/api/v[0-9]+/internal", "severity": "High", "action": "block", "reason": "r"}
            ],
            "redact_patterns": [
                {
                    "pattern": r"COMP[-_]?[A-Za-z0-9]{32,64}",
                    "severity": "Critical",
                    "reason": "Company key",
                    "unmask_for_user": True,
                    "placeholder_format": "<COMPANY_KEY_{COUNT}>",
                }
            ],
        }
    )
    policy = sound(imported)
    assert policy.type == "llm"
    assert "prompt" in {target.value for target in policy.detections[0].targets}
    assert "tool_description" not in {target.value for target in policy.detections[0].targets}
    redaction = policy.detections[2]
    assert (redaction.action, redaction.capture.redact_as, redaction.capture.reversible) == (
        "redact",
        "COMPANY_KEY",
        True,
    )
    assert redaction.is_sensitive
    assert notes(imported)["/rules/0/description"]


def test_shape_3_redaction_rules_never_put_the_value_into_an_id() -> None:
    imported = brought(
        {
            "name": "masking",
            "version": "1",
            "redaction_rules": [
                {
                    "name": "E-mail",
                    "pattern": r"[a-z.]+@[a-z]+\.com",
                    "replacement": "[REDACTED_EMAIL]",
                    "enabled": True,
                },
                {"name": "Phrase", "pattern": "super_s3cr3t", "replacement": "***", "case_sensitive": False},
                {"name": "Off", "pattern": "x+y", "enabled": False},
            ],
            "unmask_for_user": True,
        }
    )
    policy = sound(imported)
    assert [rule.id for rule in policy.detections] == ["REDACT-1", "REDACT-2", "REDACT-3"]
    assert [rule.capture.redact_as for rule in policy.detections] == ["EMAIL", "VALUE", "VALUE"]
    assert all(rule.capture.reversible for rule in policy.detections)
    assert [rule.match.any[0].flags for rule in policy.detections] == ["", "i", ""]
    assert [(override.rules, override.enabled) for override in policy.overrides] == [(("REDACT-3",), False)]


def test_shape_4_rules_with_a_score_and_a_block_threshold() -> None:
    imported = brought(
        {
            "name": "scored",
            "block_threshold": 30,
            "rules": [
                {"pattern": "drop everything", "score": 25, "action": "log"},
                {"pattern": "and run", "score": 900},
            ],
        }
    )
    policy = sound(imported)
    assert [(rule.score, rule.action) for rule in policy.detections] == [(25, "log"), (100, "block")]
    assert policy.thresholds.message_block == 30
    assert notes(imported)["/rules/1/score"] == "the score 900 became 100, the largest here"


def test_shape_4_blocks_where_the_scores_reach_its_threshold() -> None:
    """One rule whose score is enough blocks alone, two whose sum is enough block together, and one that is not does not."""
    document = {
        "name": "scored",
        "block_threshold": 30,
        "rules": [
            {"id": "BIG-1", "pattern": "big words", "score": 40},
            {"id": "SMALL-1", "pattern": "small words", "score": 20},
            {"id": "SMALL-2", "pattern": "other words", "score": 15},
            {"id": "WATCH-1", "pattern": "watched words", "score": 90, "action": "monitor"},
        ],
    }
    policy = sound(brought(document))
    own = policy.own_pack()
    assert own is not None
    made = compile_ruleset([own])
    ruleset, policies = Ruleset.load(made.packs_bytes, made.database_bytes), PolicySet([CompiledPolicy(policy)])

    def action(text: str) -> str:
        return policies.verdict(ruleset.scan([Text(Target.PROMPT, "/input", text)], direction="request")).action.word

    assert action("big words") == "block"
    assert action("small words") == "alert"
    assert action("small words, other words") == "block"
    assert action("watched words") == "alert"


def test_two_spellings_of_one_list_are_both_read() -> None:
    imported = brought(
        {
            "name": "two",
            "blocked_patterns": [{"pattern": "first one"}],
            "blockedPatterns": [{"pattern": "second one"}],
            "rules": [{"id": "A-1", "Pattern": "third one", "pattern": "fourth one", "severity": "low"}],
            "policy_name": "other",
        }
    )
    policy = sound(imported)
    patterns = [pattern.re for rule in policy.detections for pattern in rule.match.any]
    assert sorted(patterns) == [r"first one", r"second one", "third one"]
    assert notes(imported)["/rules/0/pattern"] == "is given twice in different spellings; the first one counts"
    assert "/name" in notes(imported) or "/policy_name" in notes(imported)


def test_words_that_are_not_known_are_reported() -> None:
    imported = brought(
        {
            "name": "words",
            "rules": [{"id": "A-1", "name": "a", "severity": "Apocalyptic", "patterns": ["abc"]}],
            "blockedPatterns": [
                {"pattern": "a*b", "type": "glob"},
                {"pattern": "d", "type": "substring", "severity": "dire"},
            ],
        }
    )
    policy = sound(imported)
    assert [rule.severity for rule in policy.detections] == ["medium", "high"]
    said = notes(imported)
    assert said["/rules/0/severity"] == "the severity 'Apocalyptic' is not known here; it became medium"
    assert said["/blockedPatterns/1/severity"] == "the severity 'dire' is not known here; it became high"
    assert "patterns of the type 'glob' are not known here" in said["/blockedPatterns/0/pattern"]


def test_what_is_switched_off_stays_so_in_every_list() -> None:
    off = {"enabled": False}
    imported = brought(
        {
            "name": "off",
            "rules": [{"id": "A-1", "name": "a", "patterns": ["abc"], **off}],
            "blockedPatterns": [{"pattern": "def", **off}],
            "redact_patterns": [{"pattern": "ghi", **off}],
            "polymorphicPatterns": [{"name": "B-1", "variants": ["jkl"], **off}],
            "behavioralPatterns": [{"name": "C-1", "patterns": ["mno"], **off}],
        }
    )
    policy = sound(imported)
    assert len(policy.detections) == 5
    assert [(set(override.rules or ()), override.enabled) for override in policy.overrides] == [
        ({"A-1", "BLOCKED-1", "REDACT-1", "B-1", "C-1"}, False)
    ]
    assert not any(pointer.endswith("/enabled") for pointer in notes(imported))


def test_a_pattern_that_masks_keeps_the_text_around_it() -> None:
    imported = brought(
        {
            "name": "ends",
            "redact_patterns": [{"pattern": ".*secret.*"}],
            "rules": [{"id": "A-1", "name": "a", "action": "redact", "patterns": [".*hidden"]}],
        }
    )
    policy = sound(imported)
    assert [rule.match.any[0].re for rule in policy.detections] == [".{0,200}hidden", ".{0,200}secret.{0,200}"]
    assert "200 characters" in notes(imported)["/redact_patterns/0/pattern"]


def test_what_is_cut_is_reported() -> None:
    imported = brought(
        {
            "name": "n" * 300,
            "description": "d" * 5_000,
            "rules": [{"id": "A-1", "name": "t" * 300, "patterns": ["abc"]}],
        }
    )
    policy = sound(imported)
    assert (len(policy.title), len(policy.description), len(policy.detections[0].title)) == (200, 4_000, 200)
    said = notes(imported)
    assert "first 200 characters" in said["/name"]
    assert "first 4,000 characters" in said["/description"]
    assert "first 200 characters" in said["/rules/0/name"]


def test_a_number_without_end_is_none() -> None:
    imported = brought(
        "name: n\nblock_threshold: .inf\nriskThresholds: 1\nrules:\n  - {id: A-1, name: a, pattern: abc, score: .nan}\n"
    )
    assert sound(imported).thresholds.message_block == 100
    assert sound(brought({"rules": [{"id": "A-1", "pattern": "abc", "score": 10**400}]})).detections[0].score == 15
    assert set(notes(imported)) == {"/block_threshold", "/riskThresholds", "/rules/0/score"}


def test_a_report_that_is_too_long_says_so() -> None:
    imported = brought({"name": "many", "rules": [], **{f"unknown {number}": 1 for number in range(1_200)}})
    assert len(imported.notes) == 1_000
    assert imported.notes[-1].reason == "more was dropped or changed than is listed here"


AGENTGUARD = """
version: 1
default_action: deny
rules:
  - id: allow-small-models
    match: {model: "gpt-4*"}
    action: allow
  - id: no-shell
    match:
      tool_name: [shell_exec, system, exec]
    action: deny
    reason: Shell execution is prohibited
  - id: no-ssn
    match:
      message_content:
        pattern: '\\b\\d{3}-\\d{2}-\\d{4}\\b'
    action: deny
    reason: Potential SSN detected in prompt
  - id: too-long
    match:
      message_count: {gt: 100}
    action: deny
rate_limits:
  - id: per-client
    scope: client
    limit: 1000
    window: 1m
logging: {level: info}
"""


def test_AG_PE_CFG_shape_5_yaml_loads_as_it_is() -> None:
    imported = brought(AGENTGUARD, "agent guard.yaml")
    policy = sound(imported)
    assert (policy.name, policy.default_action) == ("agent-guard-yaml", "deny")
    assert [(rule.id, rule.action) for rule in policy.rules] == [
        ("allow-small-models", "allow"),
        ("no-shell", "deny"),
        ("no-ssn", "deny"),
        ("too-long", "deny"),
    ]
    assert policy.rules[1].match.tool_name == ("shell_exec", "system", "exec")
    assert (policy.rate_limits[0].limit, policy.rate_limits[0].window) == (1000, "1m")
    assert set(notes(imported)) == {"/version", "/logging"}


def test_a_policy_inside_its_configuration_file_is_taken_out() -> None:
    imported = brought({"policy": {"name": "My Policy!", "packs": ["secrets"]}, "server": {"port": 1}})
    policy = sound(imported)
    assert (policy.name, policy.title, policy.packs) == ("my-policy", "My Policy!", ("secrets",))
    assert set(notes(imported)) == {"/server", "/policy/name"}


def test_SYP_POL_2_our_own_export_comes_back_byte_for_byte() -> None:
    policy = sound(brought(ANCESTOR))
    exported = dump_policy(policy)
    imported = import_policy(exported)
    assert imported.notes == []
    assert dump_policy(sound(imported)) == exported
    assert load_policy(exported, origin="x") == policy


def test_unbounded_gaps_are_bounded_and_reported() -> None:
    imported = brought({"rules": [{"id": "GAP-1", "name": "g", "patterns": [".*start.*stop[^x]+end.*"]}]}, "gaps")
    assert sound(imported).detections[0].match.any[0].re == "start.{0,200}stop[^x]{1,200}end"
    assert "200 characters" in notes(imported)["/rules/0/patterns/0"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no object"),
        ("[1]", "no object"),
        ("{", "not valid JSON"),
        ('{"a": 1, "a": 2}', "repeats a key"),
        ("a: 1\na: 2", "Line 2 repeats a key"),
        ("rules:\n- id: a\n  action: deny\n  match: {model: x}\n  action: allow", "Line 5 repeats a key"),
        ("rules:\n- 1: a\n  01: b", "Line 2 repeats a key"),
        ("a:\n\t- b", r"in line 2: found character '\\t' that cannot start any token"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: [", "neither JSON nor YAML in line"),
        ("a: !!python/object:os.system {}", "neither JSON nor YAML"),
        ("1: 2", "is not text"),
        ('{"colour": "green"}', "no policy that is known"),
        ('{"pack": "secrets", "rules": []}', "rule pack"),
        ("\xff\xfe", "no object"),
        ('{"rules": ' + "[" * 40 + "]" * 40 + "}", "nested too deeply"),
        ("a: " + "[" * 2000, "nested too deeply"),
        (r'{"title": "\ud800", "rules": []}', "half a character"),
        (r'{"a\udfff": 1, "rules": []}', "half a character"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_reason(content: str, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        brought(content)


def test_bytes_that_are_not_text_and_files_that_are_too_large_are_refused() -> None:
    with pytest.raises(ImportRefused, match="UTF-8"):
        import_policy(b"a: \xff")
    with pytest.raises(ImportRefused, match="larger"):
        import_policy(b" " * (1024 * 1024 + 1))


def test_wrong_types_are_reported_instead_of_failing() -> None:
    imported = brought(
        {
            "name": {"x": 1},
            "policy_type": "robots",
            "riskThresholds": {"low": 9, "medium": 1, "high": 2, "critical": 3},
            "rules": [5, {"id": 7, "pattern": None, "enabled": "yes", "score": "many", "severity": 3}],
            "blockedPatterns": "none",
            "redactPatterns": [{"pattern": 9}],
        },
        "odd",
    )
    said = notes(imported)
    assert said["/name"] == "is not text"
    assert "robots" in said["/policy_type"]
    assert "rise" in said["/riskThresholds"]
    assert said["/rules/0"] == "is not an object"
    assert said["/rules/1/enabled"] == "is neither true nor false"
    assert said["/rules/1/score"] == "is not a number"
    assert said["/blockedPatterns"] == "is not a list"
    assert "is not a pattern" in said["/redactPatterns/0/pattern"]
    assert imported.document["name"] == "odd"
    assert "detections" not in imported.document
