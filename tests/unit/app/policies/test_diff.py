"""Differences between two documents, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from app.policies.diff import MAX_CHANGES, MAX_VALUE_CHARS, diff


def told(before: Any, after: Any) -> list[tuple[str, str, str, str, str]]:
    return [(change.kind, change.pointer, change.label, change.before, change.after) for change in diff(before, after)]


def test_equal_documents_have_no_differences() -> None:
    assert diff({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_fields_are_added_removed_and_changed() -> None:
    before = {"title": "old", "thresholds": {"message_block": 100}, "type": "llm"}
    after = {"title": "new", "thresholds": {"message_block": None, "message_alert": 40}}
    assert told(before, after) == [
        ("changed", "/title", "Title", '"old"', '"new"'),
        ("changed", "/thresholds/message_block", "Thresholds · Message block", "100", "null"),
        ("added", "/thresholds/message_alert", "Thresholds · Message alert", "", "40"),
        ("removed", "/type", "Type", '"llm"', ""),
    ]


def test_true_and_one_are_not_the_same() -> None:
    assert [kind for kind, *_ in told({"a": 1}, {"a": True})] == ["changed"]


def test_rules_are_told_apart_by_their_id_wherever_they_stand() -> None:
    before = {"rules": [{"id": "a", "action": "deny"}, {"id": "b", "action": "allow"}, {"id": "c"}]}
    after = {"rules": [{"id": "b", "action": "alert"}, {"id": "a", "action": "deny"}, {"id": "d"}]}
    assert told(before, after) == [
        ("changed", "/rules/0/action", "Rule b · Action", '"allow"', '"alert"'),
        ("added", "/rules/2", "Rule d", "", '{"id":"d"}'),
        ("removed", "/rules/2", "Rule c", '{"id":"c"}', ""),
        ("moved", "/rules", "Rules: order", "a, b", "b, a"),
    ]


def test_a_list_that_was_not_there_is_told_item_by_item() -> None:
    assert told({}, {"detections": [{"id": "x"}], "packs": ["pii"]}) == [
        ("added", "/detections/0", "Detection x", "", '{"id":"x"}'),
        ("added", "/packs/0", "Packs", "", '"pii"'),
    ]


def test_plain_lists_are_sets_and_other_lists_go_by_position() -> None:
    assert told({"packs": ["a", "b"]}, {"packs": ["b", "c"]}) == [
        ("added", "/packs/1", "Packs", "", '"c"'),
        ("removed", "/packs/0", "Packs", '"a"', ""),
    ]
    assert told({"packs": ["a", "b"]}, {"packs": ["b", "a"]})[0][0] == "moved"
    before = {"overrides": [{"rules": "A"}, {"rules": "B"}]}
    after = {"overrides": [{"rules": "A", "log_only": True}]}
    assert told(before, after) == [
        ("added", "/overrides/0/log_only", "Override 1 · Log only", "", "true"),
        ("removed", "/overrides/1", "Override 2", '{"rules":"B"}', ""),
    ]


@pytest.mark.parametrize("name", ["a/b", "a~b"])
def test_pointers_are_escaped(name: str) -> None:
    assert diff({}, {name: 1})[0].pointer == "/" + name.replace("~", "~0").replace("/", "~1")


def test_what_is_told_is_bounded() -> None:
    many = {str(number): number for number in range(MAX_CHANGES + 50)}
    assert len(diff({}, many)) == MAX_CHANGES
    assert len(diff({"a": ""}, {"a": "x" * 9_000})[0].after) == MAX_VALUE_CHARS
