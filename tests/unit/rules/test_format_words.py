"""What is wrong with the form of a policy, in words that name the place and what is right there."""

from __future__ import annotations

from typing import Any

import pytest

from rules.policy import read_document

RULE = {"id": "r", "action": "deny"}
DETECTION = {
    "id": "OWN-1",
    "title": "t",
    "category": "c/d",
    "severity": "high",
    "confidence": "high",
    "score": 5,
    "targets": ["prompt"],
    "match": {"any": [{"re": "a"}]},
    "action": "block",
    "examples": {"match": ["a"], "no_match": ["b"]},
}


@pytest.mark.parametrize(
    ("part", "pointer", "reason"),
    [
        ({"rulez": []}, "/rulez", "there is no such member here; is `rules` meant?"),
        ({"zzz": 1}, "/zzz", "there is no such member here"),
        (
            {"rules": [{**RULE, "action": "zap"}]},
            "/rules/0/action",
            "'zap' is not known here: use alert, allow, deny, hold, log, redact or tag",
        ),
        ({"type": "http"}, "/type", "'http' is not known here: use a2a, both, llm or mcp"),
        ({"rules": [{"action": "deny"}]}, "/rules/0/id", "is missing"),
        ({"rate_limits": [{"id": "a", "limit": 0, "window": "1m"}]}, "/rate_limits/0/limit", "must be at least 1"),
        ({"hold_seconds": 901}, "/hold_seconds", "must be at most 900"),
        ({"rules": [{**RULE, "log_only": "yes"}]}, "/rules/0/log_only", "is text where true or false belongs"),
        ({"rules": {"id": "a"}}, "/rules", "is an object where a list belongs"),
        ({"title": None}, "/title", "is null where text belongs"),
        ({"block_status": 404}, "/block_status", "404 is not known here: use 400 or 403"),
        (
            {"rate_limits": [{"id": "a", "limit": 1, "window": "7"}]},
            "/rate_limits/0/window",
            "must be a number and s, m, h or d, such as 1m",
        ),
        (
            {"detections": [{**DETECTION, "id": "D1"}]},
            "/detections/0/id",
            "must be capital letters and digits in parts joined by hyphens, such as OWN-EMP-1",
        ),
        (
            {"detections": [{**DETECTION, "match": {"any": [{"re": "a", "flags": "x"}]}}]},
            "/detections/0/match/any/0/flags",
            None,
        ),
        (
            {"rules": [{**RULE, "match": {"schedule": {"cron": 5}}}]},
            "/rules/0/match/schedule/cron",
            "is a number where text belongs",
        ),
    ],
)
def test_AG_PE_10_a_problem_of_form_says_what_is_right_there(
    part: dict[str, Any], pointer: str, reason: str | None
) -> None:
    policy, problems = read_document({"name": "ours", **part}, "policy")
    assert policy is None
    assert problems[0].pointer == pointer
    if reason is not None:
        assert problems[0].reason == reason
    assert not any(word in problems[0].reason for word in ("Expected", "Invalid", "Object", "regex", "`str`"))


def test_a_name_that_no_policy_may_have_is_explained() -> None:
    _, [problem] = read_document({"name": "Not Good"}, "policy")
    assert (problem.pointer, problem.reason) == (
        "/name",
        "must be small letters, digits and hyphens, such as support-bot",
    )
