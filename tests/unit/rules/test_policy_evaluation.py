"""What policies say about findings and facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules.assessment import SecurityAssessment, assess
from rules.facts import Facts, Message, ToolCall
from rules.model import ALLOWED, Action, Confidence, Finding, Severity, Target, Text, Verdict
from rules.policy import Policy, read_document
from rules.policy_evaluation import CompiledPolicy, PolicySet
from tests.unit.rules.test_policy_format import AGENTGUARD

BASE = Finding(
    rule_id="T-1", pack="p", title="Something bad", category="test", severity=Severity.MEDIUM, confidence=Confidence.MEDIUM,
    score=60, action=Action.ALERT, target=Target.PROMPT, path="/messages/0/content", start=0, end=1, view="raw", evidence="x",
)  # fmt: skip


def finding(rule_id: str = "T-1", **fields: Any) -> Finding:
    return msgspec.structs.replace(BASE, rule_id=rule_id, **fields)


BAD = "Something bad in prompt"
BLOCKING = finding("B-1", action=Action.BLOCK, confidence=Confidence.HIGH)


def policy(name: str = "one", **fields: Any) -> CompiledPolicy:
    fields.setdefault("packs", ["p"])
    document, problems = read_document({"name": name, **fields}, "x")
    assert document is not None, problems
    return CompiledPolicy(document, version=3, level="proxy")


def verdict_of(findings: list[Finding], *policies: CompiledPolicy, **kwargs: Any) -> Verdict:
    return PolicySet(policies).verdict(findings, **kwargs)


def judge_call(facts: Facts, *policies: CompiledPolicy, **kwargs: Any) -> Verdict:
    together = PolicySet(policies)
    return together.verdict(together.conditional_findings(facts), **kwargs)


def request(model: str = "gpt-4o", text: str = "hello", messages: int = 1, **fields: Any) -> Facts:
    return Facts(
        model=model,
        messages=tuple(Message("user", f"/messages/{index}") for index in range(messages)),
        texts=[Text(Target.PROMPT, "/messages/0/content", text)],
        **fields,
    )


# --- Detections -------------------------------------------------------------------------------------------------------


def test_nothing_found_is_an_allow() -> None:
    assert verdict_of([], policy()) is ALLOWED


def test_the_verdict_names_what_decided() -> None:
    verdict = verdict_of([BLOCKING], policy())
    assert verdict.action is Action.BLOCK
    assert verdict.reason == "Something bad in prompt (rule B-1, policy one)"
    decision = verdict.decision
    assert (decision.source, decision.rule_id, decision.policy) == ("detection", "B-1", "one")
    assert (decision.policy_version, decision.level, decision.status) == (3, "proxy", 403)


def test_findings_of_no_policy_are_judged_by_the_defaults() -> None:
    canary = finding("CAN-1", pack="canaries", action=Action.BLOCK, confidence=Confidence.HIGH)
    verdict = verdict_of([canary], policy(enforcement="log_only"))
    assert (verdict.action, verdict.decision.policy) == (Action.BLOCK, "")
    assert verdict_of([canary], policy(), log_only=True).action is Action.ALERT
    assert verdict_of([BLOCKING]).action is Action.BLOCK


def test_an_override_disables_changes_and_silences() -> None:
    assert verdict_of([BLOCKING], policy(overrides=[{"rules": "B-*", "enabled": False}])) is ALLOWED
    changed = verdict_of([BLOCKING], policy(overrides=[{"packs": ["p"], "action": "alert", "severity": "low"}]))
    assert (changed.action, changed.findings[0].severity) == (Action.ALERT, Severity.LOW)
    other = verdict_of([BLOCKING], policy(overrides=[{"categories": "test", "packs": ["q"], "enabled": False}]))
    assert other.action is Action.BLOCK


def test_of_several_overrides_the_last_word_counts_field_by_field() -> None:
    overrides = [
        {"rules": "*", "action": "redact", "log_only": True},
        {"categories": "te*", "action": "tag"},
        {"rules": "B-1", "log_only": False},
    ]
    verdict = verdict_of([BLOCKING, finding("A-1")], policy(overrides=overrides))
    assert [found.action for found in verdict.findings] == [Action.TAG, Action.TAG]


def test_AG_PE_8_redact_keeps_its_action_for_masking() -> None:
    verdict = verdict_of([finding(), BLOCKING], policy(overrides=[{"rules": "*", "action": "redact"}]))
    assert verdict.action is Action.REDACT
    assert [found.action for found in verdict.findings] == [Action.REDACT, Action.REDACT]


def test_AG_PE_9_a_rule_that_only_logs_blocks_and_masks_nothing() -> None:
    silenced = policy(overrides=[{"rules": "B-1", "log_only": True}])
    verdict = verdict_of([BLOCKING], silenced)
    assert (verdict.action, verdict.decision.would_action) == (Action.ALERT, Action.BLOCK)
    assert verdict.reason == "Something bad in prompt (rule B-1, policy one, log only)"
    assert verdict.findings[0].action is Action.ALERT
    masked = verdict_of([finding(action=Action.REDACT)], policy(overrides=[{"rules": "*", "log_only": True}]))
    assert (masked.action, masked.decision.would_action) == (Action.ALERT, Action.REDACT)


def test_AG_PE_9_a_rule_that_only_logs_supports_no_block() -> None:
    two = [finding("A-1", score=50), finding("B-2", action=Action.BLOCK, score=50)]
    assert verdict_of(two, policy()).action is Action.BLOCK
    for rule_id in ("A-1", "B-2"):
        verdict = verdict_of(two, policy(overrides=[{"rules": rule_id, "log_only": True}]))
        assert (verdict.action, verdict.decision.would_action) == (Action.ALERT, Action.BLOCK)


def test_AG_PE_9_a_policy_that_only_logs_weakens_no_other() -> None:
    watching, enforcing = policy("watch", enforcement="log_only"), policy("enforce", packs=["q"])
    verdict = verdict_of([BLOCKING], watching, enforcing)
    assert (verdict.action, verdict.decision.would_action) == (Action.ALERT, Action.BLOCK)
    assert verdict.decision.policy == "watch"
    both = verdict_of([BLOCKING], watching, policy("enforce"))
    assert (both.action, both.decision.policy, both.findings[0].action) == (Action.BLOCK, "enforce", Action.BLOCK)


def test_AG_PE_9_a_proxy_that_only_logs_lets_everything_pass() -> None:
    verdict = verdict_of([BLOCKING, finding(action=Action.REDACT)], policy(), log_only=True)
    assert (verdict.action, verdict.decision.would_action) == (Action.ALERT, Action.BLOCK)
    assert {found.action for found in verdict.findings} == {Action.ALERT}


def test_a_finding_keeps_the_strongest_action_that_any_policy_gives_it() -> None:
    masking = policy("mask", overrides=[{"rules": "*", "action": "redact"}])
    verdict = verdict_of([finding()], policy("watch", enforcement="log_only"), masking)
    assert (verdict.action, verdict.decision.policy) == (Action.REDACT, "mask")
    assert [found.action for found in verdict.findings] == [Action.REDACT]


def test_all_findings_are_kept_in_their_order() -> None:
    found = [finding("A-1", pack="q"), BLOCKING, finding("A-2", pack="r"), finding("A-3", pack="canaries")]
    verdict = verdict_of(found, policy("one"), policy("two", packs=["r", "q"]))
    assert [item.rule_id for item in verdict.findings] == ["A-1", "B-1", "A-2", "A-3"]
    assert verdict.score == 240


# --- Scores -----------------------------------------------------------------------------------------------------------


def at(index: int, rule_id: str, **fields: Any) -> Finding:
    return finding(rule_id, path=f"/messages/{index}/content", **fields)


def test_two_signals_in_one_message_reach_the_threshold_of_the_message() -> None:
    same = [at(0, "A-1", score=50), at(0, "B-2", score=50, action=Action.BLOCK)]
    apart = [at(0, "A-1", score=50), at(1, "B-2", score=50, action=Action.BLOCK)]
    strict = policy(thresholds={"conversation_block": None})
    assert verdict_of(same, strict).action is Action.BLOCK
    assert verdict_of(same, strict).decision.threshold == 100
    assert verdict_of(apart, strict).action is Action.ALERT
    assert (
        verdict_of(same, policy(thresholds={"message_block": 101, "conversation_block": None})).action is Action.ALERT
    )
    assert (
        verdict_of(same, policy(thresholds={"message_block": None, "conversation_block": None})).action is Action.ALERT
    )


def test_signals_of_a_whole_conversation_reach_the_threshold_of_the_conversation() -> None:
    apart = [at(0, "A-1", score=50), at(7, "B-2", score=50, action=Action.BLOCK)]
    assert verdict_of(apart, policy()).action is Action.BLOCK
    assert verdict_of(apart, policy(thresholds={"conversation_block": 200})).action is Action.ALERT


def test_earlier_messages_of_a_session_support_a_block_but_never_make_one() -> None:
    earlier = [finding("A-1", score=50), finding("Z-1", score=99, pack="other")]
    now = finding("B-2", score=50, action=Action.BLOCK)
    assert verdict_of([now], policy(), earlier=earlier).action is Action.BLOCK
    assert verdict_of([now], policy(), earlier=[earlier[1]]).action is Action.ALERT
    harmless = finding("A-9", score=50)
    assert verdict_of([harmless], policy(), earlier=[now, finding("A-1", score=90)]).action is Action.ALERT
    assert verdict_of([now], policy(thresholds={"conversation_block": None}), earlier=earlier).action is Action.ALERT


def test_a_message_alerts_from_its_threshold_on() -> None:
    quiet = [finding("A-1", action=Action.LOG, score=20), finding("A-2", action=Action.TAG, score=20)]
    assert verdict_of(quiet, policy()).action is Action.TAG
    alerted = verdict_of(quiet, policy(thresholds={"message_alert": 40}))
    assert alerted.action is Action.ALERT
    assert [found.action for found in alerted.findings].count(Action.ALERT) == 1
    assert alerted.decision.threshold == 40
    assert verdict_of(quiet, policy(thresholds={"message_alert": 41})).action is Action.TAG


@pytest.mark.parametrize(
    ("score", "risk"),
    [(0, "none"), (4, "none"), (5, "low"), (15, "medium"), (30, "high"), (49, "high"), (50, "critical")],
)
def test_SYP_RISK_1_the_sum_of_scores_is_a_risk_level(score: int, risk: str) -> None:
    assert verdict_of([finding(score=score)], policy()).decision.risk == risk


def test_SYP_RISK_1_a_policy_sets_its_own_levels() -> None:
    strict = policy(thresholds={"risk": {"low": 1, "medium": 2, "high": 3, "critical": 4}})
    assert verdict_of([finding(score=4)], strict).decision.risk == "critical"


# --- Conditions -------------------------------------------------------------------------------------------------------


def agentguard() -> CompiledPolicy:
    document, problems = read_document(AGENTGUARD, "agentguard.yaml", name="agentguard")
    assert document is not None, problems
    return CompiledPolicy(document)


@pytest.mark.parametrize(
    ("facts", "rule_id"),
    [
        (request(), None),
        (request("gpt-4"), None),
        (request("o3"), "default-action"),
        (request(text="my number is 123-45-6789"), "detect-pii-in-prompt"),
        (request(messages=101), "limit-context-size"),
        (request(messages=100), None),
        (request(tool_calls=(ToolCall("shell_exec"),)), "block-shell-tools"),
        (request(tool_calls=(ToolCall("system"),)), "block-shell-tools"),
        (request(tool_calls=(ToolCall("search"),)), None),
        (request("o3", messages=101), "limit-context-size"),
    ],
)
def test_AG_PE_CFG_1_each_rule_of_the_example_does_what_its_comment_says(facts: Facts, rule_id: str | None) -> None:
    verdict = judge_call(facts, agentguard())
    assert (verdict.action is Action.BLOCK) is (rule_id is not None)
    assert verdict.decision.rule_id == (rule_id or "")


def test_AG_PE_CFG_1_the_reason_is_the_one_of_the_rule() -> None:
    verdict = judge_call(request(tool_calls=(ToolCall("exec"),)), agentguard())
    assert verdict.reason == "Shell execution is prohibited (rule block-shell-tools, policy agentguard)"
    assert (verdict.decision.source, verdict.findings[0].evidence) == ("rule", "tool exec")


def test_AG_STATE_3_deny_beats_allow_in_any_order() -> None:
    rules = [
        {"id": "yes", "action": "allow", "match": {"model": "*"}},
        {"id": "no", "action": "deny", "match": {"model": "gpt-4*"}},
    ]
    for order in (rules, rules[::-1]):
        listed = policy(default_action="deny", rules=order)
        assert judge_call(request("gpt-4o"), listed).decision.rule_id == "no"
        assert judge_call(request("o3"), listed) is ALLOWED


def test_SLG_VALID_2_a_model_that_no_rule_allows_is_refused() -> None:
    listed = policy(default_action="deny", rules=[{"id": "a", "action": "allow", "match": {"model": ["m-1", "m-2"]}}])
    refused = judge_call(request("m-3"), listed)
    assert (refused.action, refused.decision.source) == (Action.BLOCK, "default_action")
    assert refused.reason == "No rule allows this call (rule default-action, policy one)"
    assert judge_call(request("m-2"), listed) is ALLOWED


def test_the_default_action_spares_what_does_nothing() -> None:
    closed = policy(default_action="deny")
    assert judge_call(Facts(kind="mcp", method="tools/list", acts=False), closed) is ALLOWED
    assert judge_call(Facts(kind="mcp", method="tools/call"), closed).action is Action.BLOCK


def test_allow_switches_no_detection_off() -> None:
    listed = policy(rules=[{"id": "a", "action": "allow"}], default_action="deny")
    assert verdict_of([BLOCKING], listed).action is Action.BLOCK


def test_AG_PE_6_a_tag_marks_the_call_and_lets_it_pass() -> None:
    tagging = policy(
        rules=[
            {"id": "t", "action": "tag", "tags": ["finance", "eu"], "match": {"model": "gpt-*"}},
            {"id": "a", "action": "allow", "tags": ["eu", "known"], "match": {"model": "gpt-*"}},
            {"id": "n", "action": "allow"},
        ]
    )
    verdict = judge_call(request(), tagging)
    assert (verdict.action, verdict.decision.tags) == (Action.TAG, ("finance", "eu", "known"))
    assert len(verdict.findings) == 2
    assert judge_call(request("o3"), tagging) is ALLOWED


def test_conditional_rules_alert_log_and_only_log() -> None:
    rules = [
        {"id": "a", "action": "alert", "severity": "high", "match": {"model": "gpt-*"}},
        {"id": "l", "action": "log", "match": {"model": "gpt-*"}},
        {"id": "d", "action": "deny", "log_only": True, "match": {"model": "gpt-*"}},
    ]
    verdict = judge_call(request(), policy(rules=rules))
    assert (verdict.action, verdict.decision.would_action) == (Action.ALERT, Action.BLOCK)
    assert [found.action for found in verdict.findings] == [Action.ALERT, Action.LOG, Action.ALERT]
    assert verdict.findings[0].severity is Severity.HIGH
    assert judge_call(request(), policy(rules=rules[2:])).reason.endswith("(rule d, policy one, log only)")


def test_overrides_do_not_reach_conditional_rules() -> None:
    closed = policy(
        rules=[{"id": "d", "action": "deny"}], overrides=[{"rules": "*", "enabled": False}], default_action="deny"
    )
    assert [found.rule_id for found in judge_call(request(), closed).findings] == ["d", "default-action"]


def test_a_redact_rule_finds_every_place() -> None:
    masking = policy(rules=[{"id": "m", "action": "redact", "match": {"message_content": {"pattern": "[0-9]+"}}}])
    verdict = judge_call(request(text="12 and 345"), masking)
    assert verdict.action is Action.REDACT
    assert [(found.value_start, found.value_end, found.path) for found in verdict.findings] == [
        (0, 2, "/messages/0/content"),
        (7, 10, "/messages/0/content"),
    ]
    assert all("345" not in found.evidence for found in verdict.findings)


def test_AG_PE_2_proposed_tool_calls_are_judged_one_by_one() -> None:
    shell = policy(rules=[{"id": "s", "action": "deny", "match": {"tool_name": "exec"}}, {"id": "x", "action": "deny"}])
    answer = Facts(phase="response", model="m", tool_calls=(ToolCall("search", path="/0"), ToolCall("exec", path="/1")))
    verdict = judge_call(answer, shell)
    assert [(found.rule_id, found.path) for found in verdict.findings] == [("s", "/1")]
    assert judge_call(Facts(phase="response"), shell) is ALLOWED


def test_AG_STATE_3_a_list_of_allowed_tools_binds_the_answer_too() -> None:
    answer = Facts(phase="response", tool_calls=(ToolCall("search"), ToolCall("exec")))
    models = {"id": "m", "action": "allow", "match": {"model": "*"}}
    tools = {"id": "t", "action": "allow", "match": {"tool_name": "search"}}
    verdict = judge_call(answer, policy(default_action="deny", rules=[models, tools]))
    assert (verdict.decision.source, len(verdict.findings)) == ("default_action", 1)
    assert verdict.reason.startswith("No rule allows this tool")
    assert judge_call(answer, policy(default_action="deny", rules=[models])) is ALLOWED


def test_LLMSG_GUARD_3_the_policy_that_decides_sets_the_status() -> None:
    one = policy("one", block_status=400)
    assert verdict_of([BLOCKING], one).decision.status == 400
    assert verdict_of([BLOCKING], policy("two"), one).decision.status == 403


def test_a_set_knows_what_its_policies_need() -> None:
    plain = PolicySet([policy()])
    asking = PolicySet(
        [policy(), policy("two", rules=[{"id": "h", "action": "log", "match": {"header": {"X-A": "*"}}}])]
    )
    assert not plain.needs_facts
    assert asking.needs_facts
    assert asking.header_names == {"x-a"}
    assert PolicySet([policy(default_action="deny")]).needs_facts
    assert "two" in repr(asking)
    assert "one" in repr(asking.policies[0])


# --- Assessment -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "log_only", "expected"),
    [
        ([], False, SecurityAssessment(True, "", "", 1)),
        (
            [finding(score=50)],
            False,
            SecurityAssessment(True, "T-1", "Something bad in prompt (rule T-1, policy one)", 5),
        ),
        ([BLOCKING], False, SecurityAssessment(False, "B-1", f"{BAD} (rule B-1, policy one)", 8)),
        (
            [BLOCKING],
            True,
            SecurityAssessment(False, "B-1", "Something bad in prompt (rule B-1, policy one, log only)", 8),
        ),
        (
            [finding(score=100), finding("T-2", score=80)],
            False,
            SecurityAssessment(True, "T-1", "Something bad in prompt (rule T-1, policy one)", 10),
        ),
    ],
)
def test_LLMSG_GUARD_2_a_verdict_as_an_assessment(
    findings: list[Finding], log_only: bool, expected: SecurityAssessment
) -> None:
    assert assess(verdict_of(findings, policy(), log_only=log_only)) == expected
    names = [field.name for field in msgspec.structs.fields(SecurityAssessment)]
    assert names == [
        "is_safe",
        "violated_rule",
        "reason",
        "risk_score",
    ]


def test_a_policy_of_the_library_judges_like_a_document() -> None:
    assert (
        CompiledPolicy(Policy(name="x", packs=("p",))).judge([BLOCKING], (), log_only=False).real.action is Action.BLOCK
    )


SSN = {"message_content": {"pattern": r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"}}
DISGUISED = ("123\u200b-45-6789", "１２３-４５-６７８９", "12\u00ad3-45-67\u20608\ufeff9")


@pytest.mark.parametrize("number", DISGUISED)
def test_AG_PE_1_a_disguise_does_not_slip_past_a_condition_and_opens_none(number: str) -> None:
    """Invisible characters and other forms of a digit: what a person or a model reads is the number."""
    asked = request(text=f"ünd my number is {number}, thanks")
    denied = judge_call(asked, policy(rules=[{"id": "d", "action": "deny", "match": SSN}]))
    assert denied.action is Action.BLOCK
    opened = judge_call(asked, policy(default_action="deny", rules=[{"id": "a", "action": "allow", "match": SSN}]))
    assert opened.action is Action.BLOCK

    masked = judge_call(asked, policy(rules=[{"id": "m", "action": "redact", "match": SSN}]))
    (found,) = masked.findings
    assert asked.texts[0].text[found.value_start : found.value_end] == number
    assert "6789" not in found.evidence
    assert number not in found.evidence


def test_AG_PE_1_what_is_plain_is_found_once() -> None:
    asked = request(text="a\u200bb 123-45-6789 and 987\u200b-65-4321")
    masked = judge_call(asked, policy(rules=[{"id": "m", "action": "redact", "match": SSN}]))
    values = [asked.texts[0].text[one.value_start : one.value_end] for one in masked.findings]
    assert values == ["123-45-6789", "987\u200b-65-4321"]
