"""RED-STR-9: which mode counts where packs, overrides and several policies say different things."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules.model import Action, Target
from rules.policy import Override, Policy
from rules.policy_evaluation import CompiledPolicy, PolicySet
from rules.stream_modes import StreamedRule, StreamModes
from tests.unit.rules.small_packs import pack, rule, ruleset

SAID = StreamedRule("p", "R-1", "test/any", Action.BLOCK, frozenset({Target.COMPLETION}), "window")
NOTHING = StreamModes()
HELD = StreamModes(held=frozenset({"R-1"}))
BUFFERS = StreamModes(buffers=True)
QUIET = StreamModes(detect_only=frozenset({("p", "R-1")}))


def policy(*overrides: dict[str, Any], name: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "packs": ["p"], "overrides": [{"rules": "*", **override} for override in overrides], **more}


def modes(rule: StreamedRule, *policies: dict[str, Any]) -> StreamModes:
    compiled = [CompiledPolicy(msgspec.convert(one, Policy)) for one in policies]
    return PolicySet(compiled).stream_modes([rule])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SAID, HELD),
        (SAID._replace(mode="buffer"), BUFFERS),
        (SAID._replace(mode="detect-only"), QUIET),
        (SAID._replace(action=Action.ALERT, mode="buffer"), NOTHING),
        (SAID._replace(action=Action.REDACT), NOTHING),
        (SAID._replace(targets=frozenset({Target.TOOL_ARGS})), StreamModes(holds_arguments=True)),
        (SAID._replace(targets=frozenset({Target.TOOL_ARGS}), action=Action.ALERT), NOTHING),
        (SAID._replace(targets=frozenset({Target.TOOL_ARGS}), mode="detect-only"), QUIET),
        (SAID._replace(targets=frozenset({Target.TOOL_ARGS}), mode="buffer"), BUFFERS),
        (SAID._replace(targets=frozenset({Target.PROMPT}), mode="buffer"), NOTHING),
    ],
)
def test_RED_STR_9_without_a_policy_a_rule_speaks_for_itself(rule, expected) -> None:
    assert modes(rule) == expected
    assert modes(rule, policy()) == expected


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([policy({"streams": "buffer"})], BUFFERS),
        ([policy({"streams": "buffer"}, {"streams": "detect-only"})], QUIET),
        ([policy({"streams": "buffer", "action": "alert"})], NOTHING),
        ([policy({"streams": "buffer", "enabled": False})], NOTHING),
        ([policy({"streams": "buffer", "log_only": True})], NOTHING),
        ([policy({"streams": "buffer"}, enforcement="log_only")], NOTHING),
        ([policy({"streams": "detect-only"}), policy({"streams": "buffer"}, name="two")], BUFFERS),
        ([policy({"streams": "detect-only"}), policy(name="two")], HELD),
        ([policy({"streams": "detect-only"}), policy({"action": "log"}, name="two")], QUIET),
    ],
)
def test_RED_STR_9_the_strictest_policy_that_blocks_counts(policies, expected) -> None:
    assert modes(SAID, *policies) == expected


def test_RED_STR_9_a_rule_says_its_mode_in_its_pack() -> None:
    patterns = {"any": [{"re": "x"}]}
    examples = ("x", "y")
    only_requests = rule("R-2", patterns, examples, direction=["request"])
    small = pack("p", rule("R-1", patterns, examples, streams="buffer"), only_requests)
    assert [(one.id, one.mode) for one in ruleset(small).streamed_rules] == [("R-1", "buffer")]


def test_RED_STR_9_an_override_may_change_nothing_else() -> None:
    assert Override(rules="*", streams="buffer").streams == "buffer"
    with pytest.raises(ValueError, match="changes nothing"):
        Override(rules="*")
