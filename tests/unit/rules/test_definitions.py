"""Values in the definitions of a request are found as in a prompt, each once, and nothing else is."""

from __future__ import annotations

from functools import partial

from rules.definitions import in_definitions
from rules.model import Target, Text
from tests.unit.rules.small_packs import pack, rule, ruleset

PROMPT_ONLY = {"targets": ["prompt"]}
MASKS = rule("T-MASK", {"any": [{"re": "zz-[0-9]{4}"}]}, ("zz-1234", "x"), action="redact", **PROMPT_ONLY)
PERSONAL = rule("T-PII", {"any": [{"re": "born [0-9]{4}"}]}, ("born 1990", "x"), category="pii/birth", **PROMPT_ONLY)
ORDER = rule("T-ORDER", {"any": [{"re": "forget it"}]}, ("forget it", "x"), action="block", **PROMPT_ONLY)
TEXTS = [
    Text(Target.PROMPT, "/messages/0/content", "zz-1111"),
    Text(Target.TOOL_DESCRIPTION, "/tools/0/description", "forget it, zz-1234"),
    Text(Target.SCHEMA, "/tools/0/default", "born 1990"),
    Text(Target.TOOL_NAME, "/tools/0/name", "zz-4321"),
]


def nothing(*_rule: object) -> bool:
    """No policy masks anything of its own accord."""
    return False


def test_values_are_found_where_they_stand_and_orders_are_not() -> None:
    scan = partial(ruleset(pack("values", MASKS, PERSONAL, ORDER)).scan, direction="request")
    found = in_definitions(TEXTS, scan, nothing, [])
    assert {(one.rule_id, one.target, one.path) for one in found} == {
        ("T-MASK", Target.TOOL_DESCRIPTION, "/tools/0/description"),
        ("T-PII", Target.SCHEMA, "/tools/0/default"),
    }
    assert in_definitions(TEXTS, scan, nothing, found) == [], "what is known is not found again"
    assert in_definitions(TEXTS[:1], scan, nothing, []) == []


def test_what_a_policy_masks_is_about_values_whatever_its_rule_does() -> None:
    scan = partial(ruleset(pack("values", ORDER)).scan, direction="request")
    found = in_definitions(TEXTS, scan, lambda _pack, rule_id, _category, _action: rule_id == "T-ORDER", [])
    assert [(one.rule_id, one.path) for one in found] == [("T-ORDER", "/tools/0/description")]
