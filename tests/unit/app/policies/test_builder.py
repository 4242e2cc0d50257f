"""The builder's form writes what it shows and leaves the rest of a document alone."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from app.policies.builder import CONTEXT_SWITCH, merged, operated, shown, with_override
from app.policies.builder_fields import DEFAULTS, ELSEWHERE, HEAD, ITEMS, JSON_ONLY
from rules.policy import ContextFirewall, Policy, read_document

RICH: dict[str, Any] = {
    "name": "rich",
    "title": "Rich",
    "packs": ["secrets", "elsewhere"],
    "placeholder_hint": True,
    "restore_tool_arguments": False,
    "tainted_arguments": "block",
    "hold_seconds": 120,
    "context": {"allowed_origins": ["kb://approved/", "https://wiki.example.org/"], "risk_threshold": 20},
    "thresholds": {"message_alert": 40, "risk": {"low": 1, "medium": 2, "high": 3, "critical": 4}},
    "overrides": [
        {"categories": ["pii/*", "secrets/*"], "action": "redact", "enabled": True},
        {"rules": "PI-*", "log_only": True, "reason": "noise"},
    ],
    "rules": [
        {
            "id": "one",
            "action": "deny",
            "match": {
                "model": ["gpt-4*", "o1"],
                "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}, {"path": "$.n", "gt": 3}],
                "message_count": {"gt": 10, "lte": 100},
                "role_count": {"user": {"gt": 2}},
                "header": {"x-team": "red*"},
                "schedule": {"cron": "* 9-17 * * mon-fri", "time_zone": "Europe/Vienna"},
                "message_content": {"pattern": "secret", "roles": ["user"], "flags": "i"},
                "token_estimate": {"eq": 7},
            },
        }
    ],
    "detections": [
        {
            "id": "OWN-1",
            "title": "Own",
            "category": "custom/own",
            "severity": "high",
            "confidence": "high",
            "score": 60,
            "targets": ["prompt"],
            "match": {"all": [{"re": "alpha"}], "near": [{"re": "beta", "within": 20}]},
            "action": "block",
            "examples": {"match": ["alpha beta"], "no_match": ["beta"]},
            "direction": ["response"],
            "views": ["raw", "decoded"],
            "validators": ["luhn"],
            "streams": "buffer",
            "sensitive": False,
            "capture": {"group": 1, "redact_as": "ALPHA", "reversible": True},
            "false_positives": "Greek lessons",
            "rev": 3,
            "map": {"cwe": ["CWE-200"]},
            "references": ["https://example.org"],
        }
    ],
    "rate_limits": [{"id": "r", "scope": "key", "limit": 5, "window": "1m"}],
}


def submitted(document: dict[str, Any]) -> dict[str, list[str]]:
    """What a browser sends for the form of this document when nobody changed anything."""
    values, form = shown(document), {}
    form[CONTEXT_SWITCH] = [values[CONTEXT_SWITCH]]
    form["packs.shown"] = ["secrets", "pii"]
    form["packs"] = [name for name in values["packs"] if name in form["packs.shown"]]
    for field in HEAD:
        form[field.path] = [values[field.path]]
    for name, fields in ITEMS.items():
        for index, item in enumerate(values[name]):
            form[f"{name}.{index}"] = ["1"]
            for field in fields:
                if field.kind == "flag":
                    if item[field.path]:
                        form[f"{name}.{index}.{field.path}"] = ["on"]
                else:
                    form[f"{name}.{index}.{field.path}"] = [item[field.path]]
            if name == "rules":
                for part in ("path", "operator", "value"):
                    form[f"rules.{index}.argument.{part}"] = [item[f"argument.{part}"]]
            if name == "detections" and item["editable"]:
                form[f"detections.{index}.patterns"] = [item["patterns"]]
                form[f"detections.{index}.min_count"] = [item["min_count"]]
                if item["ignore_case"]:
                    form[f"detections.{index}.ignore_case"] = ["on"]
    return form


def test_an_untouched_form_changes_nothing() -> None:
    assert read_document(RICH, "x")[1] == []
    assert merged(RICH, submitted(RICH)) == RICH


def test_a_change_in_the_form_reaches_its_place_and_nothing_else() -> None:
    form = submitted(RICH) | {
        "title": ["Richer"],
        "enforcement": ["log_only"],
        "thresholds.message_block": [""],
        "rules.0.match.model": ["claude*"],
        "rules.0.argument.operator": ["in"],
        "rules.0.argument.value": ['/a, 7, true, "8"'],
        "rules.0.match.message_content.pattern": [""],
        "rules.0.match.message_content.roles": [""],
        "rules.0.match.message_content.flags": [""],
        "rules.0.match.message_count": [">=5,<= 100"],
        "rules.0.match.role_count": ["user: > 2\r\ntool: = 0"],
        "overrides.0.enabled": [""],
        "overrides.0.log_only": ["yes"],
        "packs": ["pii"],
    }
    after = merged(RICH, form)
    assert (after["title"], after["enforcement"]) == ("Richer", "log_only")
    assert after["thresholds"] == {**RICH["thresholds"], "message_block": None}
    match = after["rules"][0]["match"]
    assert match["model"] == "claude*"
    assert match["tool_arguments"] == [{"path": "$.path", "in": ["/a", 7, True, "8"]}, {"path": "$.n", "gt": 3}]
    assert "message_content" not in match
    assert match["role_count"] == {"user": {"gt": 2}, "tool": {"eq": 0}}
    assert match["message_count"] == {"gte": 5, "lte": 100}
    assert after["overrides"][0] == {"categories": ["pii/*", "secrets/*"], "action": "redact", "log_only": True}
    assert after["packs"] == ["elsewhere", "pii"]
    assert after["detections"] == RICH["detections"]
    assert read_document(after, "x")[1] == []


def members(kind: object = Policy, prefix: str = "") -> set[str]:
    """Every place of the format, `rules.match.model` for one in a list; bounds and examples are one value each."""
    found = set()
    for field in msgspec.structs.fields(kind):  # type: ignore[arg-type]
        place = f"{prefix}{field.encode_name}"
        inner = struct_in(field.type)
        found |= members(inner, f"{place}.") if inner and inner.__name__ not in WHOLE else {place}
    return found


WHOLE = {"Range", "ArgumentMatch", "Pattern", "Near", "Absent", "Taxonomy"}


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, itself or as an item or an alternative."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in get_args(kind) if (found := struct_in(part))), None)


def test_RED_PH_5_every_member_of_a_policy_has_a_field_or_is_named_as_only_in_the_json() -> None:
    fields = {field.path for field in HEAD} | {
        f"{name}.{field.path}" for name, listed in ITEMS.items() for field in listed
    }
    known = fields | ELSEWHERE.keys() | JSON_ONLY.keys()

    assert "placeholder_hint" in fields
    assert members() - known == set()
    assert known - members() == set(), "the form knows what a policy no longer has"
    assert fields & JSON_ONLY.keys() == set()


def test_the_form_takes_for_absent_what_the_format_does() -> None:
    empty = Policy(name="x", context=ContextFirewall())
    for place, value in DEFAULTS.items():
        found: Any = empty
        for name in place.split("."):
            found = getattr(found, name)
        assert (list(found) if isinstance(found, tuple) else found) == value, place


def test_the_context_firewall_is_switched_on_and_off() -> None:
    plain = {"name": "plain"}
    on = merged(plain, submitted(plain) | {CONTEXT_SWITCH: ["yes"]})
    assert on == {"name": "plain", "context": {}}
    assert merged(on, submitted(on)) == on
    assert merged(RICH, submitted(RICH) | {CONTEXT_SWITCH: ["no"]}) == {k: v for k, v in RICH.items() if k != "context"}


@pytest.mark.parametrize("typed", ["ten", "> ten", "10", "> 1, many"])
def test_bounds_that_are_none_stay_as_typed_for_lint_to_name(typed: str) -> None:
    after = merged(RICH, submitted(RICH) | {"rules.0.match.message_count": [typed]})
    assert after["rules"][0]["match"]["message_count"] == typed
    assert shown(after)["rules"][0]["match.message_count"] == typed
    (problem,) = read_document(after, "x")[1]
    assert problem.pointer.startswith("/rules/0/match/message_count")


def test_defaults_are_left_out_of_the_document() -> None:
    plain = {"name": "plain"}
    assert merged(plain, submitted(plain)) == plain
    back = merged({"name": "plain", "enforcement": "log_only"}, submitted(plain))
    assert back == plain


def test_a_detection_is_built_from_the_form_alone() -> None:
    document = operated({"name": "made", "type": "llm"}, "add-detections")
    form = submitted(document) | {
        "detections.0.title": ["Employee number"],
        "detections.0.patterns": ["\\bEMP-\\d{6}\\b\r\n\\bEMPL-\\d{6}\\b\n"],
        "detections.0.ignore_case": ["on"],
        "detections.0.min_count": ["2"],
        "detections.0.examples.match": ["see EMP-123456 and EMP-654321"],
        "detections.0.examples.no_match": ["see EMP-1"],
    }
    after = merged(document, form)
    made = after["detections"][0]
    assert made["match"] == {
        "any": [{"re": "\\bEMP-\\d{6}\\b", "flags": "i"}, {"re": "\\bEMPL-\\d{6}\\b", "flags": "i"}],
        "min_count": 2,
    }
    assert made["examples"]["match"] == ["see EMP-123456 and EMP-654321"]
    assert read_document(after, "x")[1] == []
    assert shown(after)["detections"][0]["editable"]
    assert merged(after, submitted(after)) == after


def test_items_are_added_with_distinct_ids_and_removed_by_number() -> None:
    document = {"name": "x"}
    for name in ("overrides", "rules", "rules", "rate_limits"):
        document = operated(document, f"add-{name}")
    assert [rule["id"] for rule in document["rules"]] == ["new-rule-1", "new-rule-2"]  # type: ignore[index]
    document = operated(document, "remove-rules-0")
    assert [rule["id"] for rule in document["rules"]] == ["new-rule-2"]  # type: ignore[index]
    assert "rate_limits" not in operated(document, "remove-rate_limits-0")
    assert operated(document, "remove-rules-9") == document
    assert operated(document, "remove-rules") == document
    assert operated(document, "drop-everything") == document
    assert operated({"name": "x", "type": "mcp"}, "add-detections")["detections"][0]["targets"][0] == "tool_name"


def test_an_override_for_a_rule_only_logs_at_first() -> None:
    document = operated({"name": "x"}, "override:SEC-AWS-001")
    assert document["overrides"] == [{"rules": "SEC-AWS-001", "log_only": True}]
    off = with_override(document, "PII-1", "noise", enabled=False)
    assert off["overrides"][1] == {"rules": "PII-1", "enabled": False, "reason": "noise"}


@pytest.mark.parametrize(
    ("given", "value"),
    [("5", 5), ("", None), ("many", "many"), ("-1", -1)],
)
def test_what_is_no_number_stays_as_it_was_typed_for_lint_to_name(given: str, value: object) -> None:
    document = {"name": "x", "rate_limits": [{"id": "r", "scope": "key", "limit": 5, "window": "1m"}]}
    after = merged(document, submitted(document) | {"rate_limits.0.limit": [given]})
    assert after["rate_limits"][0].get("limit") == value


def test_documents_of_any_shape_can_be_shown() -> None:
    odd = {
        "name": 5,
        "packs": "secrets",
        "rules": [7, {"match": 3}],
        "detections": [{"match": {"any": ["x"]}}],
        "overrides": {},
        "thresholds": [],
    }
    values = shown(odd)
    assert values["rules"][0] is None
    assert not values["detections"][0]["editable"]
    assert merged(odd, {"rules.0": ["1"]}) == odd


EXACT: dict[str, Any] = {
    "name": "exact",
    "description": " two\n lines ",
    "overrides": [{"rules": ["PI-1"], "log_only": True}, {"packs": [], "enabled": False}],
    "rules": [
        {
            "id": "text",
            "action": "deny",
            "tags": ["a, b"],
            "match": {
                "tool_arguments": [{"path": "$.n", "equals": "1"}],
                "group": ["g"],
                "message_content": {"pattern": " secret "},
            },
        },
        {"id": "null", "action": "deny", "match": {"tool_arguments": [{"path": "$.n", "equals": None}]}},
        {"id": "large", "action": "deny", "match": {"tool_arguments": [{"path": "$.n", "gt": 1e300}]}},
        {
            "id": "some",
            "action": "deny",
            "match": {"tool_arguments": [{"path": "$.n", "in": ["1", "a, b", None, 1.5]}]},
        },
        {"id": "space", "action": "deny", "match": {"tool_arguments": [{"path": "$.n", "matches": "rm -rf "}]}},
    ],
    "detections": [
        {
            "id": "OWN-1",
            "title": "Own",
            "validators": ["context:[card, visa]±30", "luhn"],
            "match": {"any": [{"re": " alpha"}, {"re": "beta\n"}]},
            "examples": {"match": ["two\nlines alpha", " alpha"], "no_match": [""]},
        }
    ],
}
"""What text in a field does not say exactly."""


def as_browsers_send(values: dict[str, list[str]]) -> dict[str, list[str]]:
    """Line ends are CRLF in areas; a line has none."""
    return {name: [text.replace("\n", "\r\n") for text in given] for name, given in values.items()}


def test_a_field_that_nobody_touched_changes_nothing() -> None:
    """A change anywhere sends all fields, and what they show is not always all that stands in the document."""
    assert merged(EXACT, submitted(EXACT)) == EXACT
    after = merged(EXACT, as_browsers_send(submitted(EXACT)) | {"title": ["New"]})
    assert after == {**EXACT, "title": "New"}


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        *(('"1"', "1"), ("1", 1), ("null", None), ('"null"', "null"), ("true", True)),
        *(("1e3", 1000.0), ("1e999", "1e999"), ("a b", "a b")),
    ],
)
def test_arguments_are_typed_as_json_or_as_plain_words(typed: str, value: Any) -> None:
    form = submitted(EXACT) | {"rules.0.argument.value": [typed]}
    (condition,) = merged(EXACT, form)["rules"][0]["match"]["tool_arguments"]
    assert condition == {"path": "$.n", "equals": value}
    assert type(condition["equals"]) is type(value)
    again = merged({"name": "x", "rules": merged(EXACT, form)["rules"]}, form)
    assert again["rules"][0]["match"]["tool_arguments"] == [condition]


def test_a_changed_field_keeps_what_is_exact_in_it() -> None:
    form = submitted(EXACT)
    form["detections.0.validators"] = ["luhn, context:[card, visa]±40"]
    form["rules.0.match.message_content.pattern"] = [" secret x "]
    form["rules.4.argument.value"] = ["rm -r "]
    after = merged(EXACT, form)
    assert after["detections"][0]["validators"] == ["luhn", "context:[card, visa]±40"]
    assert after["rules"][0]["match"]["message_content"] == {"pattern": " secret x "}
    assert after["rules"][4]["match"]["tool_arguments"] == [{"path": "$.n", "matches": "rm -r "}]
