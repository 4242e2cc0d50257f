"""The JSON dialects that are lists of patterns (inventory b.4, shapes 1 to 4).

They share their words: `rules` with patterns, `blockedPatterns` in three spellings, `redactPatterns` and
`redaction_rules`, `polymorphicPatterns` with variants, `behavioralPatterns` with a threshold. One reader takes them all,
because files in the wild mix them.
"""

from __future__ import annotations

import re
from typing import Any

from rules.importers.detections import MAX_TITLE_CHARS, Shape, action_of, category_of, score_of, severity_of
from rules.importers.report import Fields, Imported, Report
from rules.packs import MAX_LABEL_CHARS

HEAD_REASONS = {
    "version": "versions are counted by Ostiary",
    "severity": "the severity of a policy is that of its rules",
    "author": "the author is whoever publishes the version",
    "created": "times are those of the versions here",
    "whitelist patterns": (
        "a text that switches detection off would let anybody switch it off; "
        "give the rule concerned a pattern under none, with within, instead"
    ),
    "allowed tools": "write a rule with action allow on tool_name, and default_action deny",
}
ITEM_REASONS = {"description": "a detection has a title only"}
MAX_DESCRIPTION_CHARS = 4_000
MAX_COUNT = 1_000
"""Hits that one rule may ask for."""
_BRACKETS = re.compile(r"^[<\[](?:REDACTED_)?([A-Z][A-Z0-9_]*?)(?:_(?:\d+|\{COUNT\}))?[>\]]$")


def read(document: dict[str, Any], name: str, dialect: str) -> Imported:
    """The policy in a document of lists of patterns; `name` is for one that names itself nowhere."""
    report = Report()
    fields = Fields(document, "", report)
    title = fields.text("policyName", "name", "title", default=name[:MAX_TITLE_CHARS], longest=MAX_TITLE_CHARS)
    policy_type = _policy_type(fields, report)
    thresholds = _thresholds(fields, report)
    shape = Shape(policy_type, report)
    _rules(fields, shape, thresholds.get("message_block"))
    _blocked(fields, shape)
    _redactions(fields, shape)
    _variants(fields, shape)
    _behaviours(fields, shape)
    document = {
        "name": slug(title) or slug(name) or "imported-policy",
        "title": title,
        "description": fields.text("description", longest=MAX_DESCRIPTION_CHARS),
        "type": policy_type,
        "detections": shape.detections,
        "overrides": _overrides(shape.disabled),
        "thresholds": thresholds,
    }
    fields.finish(HEAD_REASONS)
    return Imported(dialect, {key: value for key, value in document.items() if value not in ("", [], {})}, report.notes)


def slug(text: str) -> str:
    """A policy name in our spelling."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")


def _policy_type(fields: Fields, report: Report) -> str:
    place = fields.place("policy_type", "type")
    word = fields.text("policy_type", "type").lower()
    if word not in ("", "llm", "mcp", "a2a", "both"):
        report.changed(place, f"the type {word[:40]!r} is not known here; it became both")
        word = ""
    return word or "both"


def _thresholds(fields: Fields, report: Report) -> dict[str, Any]:
    made: dict[str, Any] = {}
    block = fields.number("block_threshold")
    if block is not None:
        made["message_block"] = max(1, round(block))
    place = fields.place("riskThresholds")
    levels = fields.take("riskThresholds")
    if isinstance(levels, dict):
        wanted = {key: levels.get(key) for key in ("low", "medium", "high", "critical")}
        numbers = [value for value in wanted.values() if isinstance(value, int) and not isinstance(value, bool)]
        if len(numbers) == len(wanted) and numbers == sorted(numbers) and numbers[0] > 0:
            made["risk"] = wanted
        else:
            report.dropped(place, "risk thresholds must be four whole numbers that rise from low to critical")
    elif levels is not None:
        report.dropped(place, "is not an object")
    return made


def _overrides(disabled: list[str]) -> list[dict[str, Any]]:
    """What is switched off in the file is here and switched off, so that it can be switched on again."""
    return [{"rules": disabled, "enabled": False, "reason": "disabled in the import"}] if disabled else []


def _rules(fields: Fields, shape: Shape, block_threshold: int | None) -> None:
    """Add the rules. Where scores decide, a rule without an action blocks: alone if its score is enough, else together with
    others."""
    for number, rule in enumerate(fields.objects("rules"), 1):
        report, pointer = rule.report, rule.pointer
        title = rule.text("name", "title", longest=MAX_TITLE_CHARS)
        id = shape.id_for(rule.text("id") or title, f"{pointer}/id", f"RULE-{number}")
        severity, score, word = severity_of(rule), score_of(rule), rule.text("action")
        decides = block_threshold is not None and score is not None and not word
        confidence = ("high" if (score or 0) >= (block_threshold or 0) else "medium") if decides else ""
        action = action_of(word, "block" if decides else "alert", f"{pointer}/action", report)
        patterns = [(place, text, "regex") for place, text in rule.items("patterns")]
        place = rule.place("pattern")
        if (single := rule.take("pattern")) is not None:
            patterns.append((place, single, "regex"))
        shape.add(
            id=id,
            title=title,
            category=category_of(rule.text("category"), "imported"),
            severity=severity,
            action=action,
            patterns=patterns,
            pointer=pointer,
            confidence=confidence,
            score=score,
            enabled=rule.flag("enabled", default=True),
        )
        rule.finish(ITEM_REASONS | {"conditions": "conditions of a rule have no counterpart; write a conditional rule"})


def _blocked(fields: Fields, shape: Shape) -> None:
    for number, blocked in enumerate(fields.objects("blockedPatterns"), 1):
        place = blocked.place("pattern")
        kind = blocked.text("type", default="regex").lower()
        reason = blocked.text("reason", "message", "description", "name", longest=MAX_TITLE_CHARS)
        category = blocked.text("category")
        shape.add(
            id=shape.id_for(blocked.text("id"), f"{blocked.pointer}/id", f"BLOCKED-{number}"),
            title=reason or f"Blocked pattern {number}",
            category=category_of(category, "blocked"),
            severity=severity_of(blocked, "high"),
            action=action_of(blocked.text("action"), "block", f"{blocked.pointer}/action", blocked.report),
            patterns=[(place, blocked.take("pattern"), kind)],
            pointer=blocked.pointer,
            enabled=blocked.flag("enabled", default=True),
        )
        blocked.finish(ITEM_REASONS)


def _redactions(fields: Fields, shape: Shape) -> None:
    restores = fields.flag("unmask_for_user", default=False)
    items = [*fields.objects("redactPatterns"), *fields.objects("redaction_rules")]
    for number, item in enumerate(items, 1):
        pointer, place = item.pointer, item.place("pattern")
        name = item.text("name", "reason", longest=MAX_TITLE_CHARS)
        replacement = item.text("redact_string", "redactString", "replacement", default="[REDACTED]")
        form = item.text("placeholder_format")
        reversible = item.flag("unmask_for_user", default=restores)
        # The id never holds the pattern: a pattern for one password would be that password.
        id = shape.id_for("", f"{pointer}/id", f"REDACT-{number}")
        word = _type_word(form) or _type_word(replacement)
        if replacement not in ("", "[REDACTED]") or form:
            item.report.changed(pointer, f"its value is replaced by a placeholder of the type {word or 'VALUE'}")
        shape.add(
            id=id,
            title=name or f"Redact pattern {number}",
            category=category_of("redaction", "redaction"),
            severity=severity_of(item),
            action="redact",
            patterns=[(place, item.take("pattern"), "regex")],
            pointer=pointer,
            enabled=item.flag("enabled", default=True),
            capture={"redact_as": word or "VALUE", "reversible": reversible},
            ignore_case=not item.flag("case_sensitive", default=True),
        )
        item.finish(ITEM_REASONS)


def _type_word(text: str) -> str:
    """`EMAIL` of `<EMAIL_1>`, `[REDACTED_EMAIL]` or `<EMAIL_{COUNT}>`."""
    found = _BRACKETS.match(text)
    return found[1] if found and found[1] != "REDACTED" and 2 <= len(found[1]) <= MAX_LABEL_CHARS else ""


def _variants(fields: Fields, shape: Shape) -> None:
    for number, item in enumerate(fields.objects("polymorphicPatterns"), 1):
        patterns = [(place, text, "regex") for place, text in item.items("variants")]
        weighted = list(item.objects("weightedVariants"))
        for variant in weighted:
            place = variant.place("pattern")
            patterns.append((place, variant.take("pattern"), "regex"))
            variant.finish({"weight": "variants count alike; the score of the rule is what counts"})
        _counted(item, shape, patterns, f"VARIANTS-{number}", "variants")


def _behaviours(fields: Fields, shape: Shape) -> None:
    for number, item in enumerate(fields.objects("behavioralPatterns"), 1):
        patterns = [(place, text, "regex") for place, text in item.items("patterns")]
        _counted(item, shape, patterns, f"BEHAVIOUR-{number}", "behaviour")


def _counted(item: Fields, shape: Shape, patterns: list[tuple[str, Any, str]], fallback: str, default: str) -> None:
    name = item.text("name", longest=MAX_TITLE_CHARS)
    count = min(MAX_COUNT, max(1, round(item.number("threshold") or 1)))
    if count > 1:
        item.report.changed(f"{item.pointer}/threshold", f"counts {count} hits in one text, of any of its patterns")
    shape.add(
        id=shape.id_for(name, f"{item.pointer}/name", fallback),
        title=name,
        category=category_of(item.text("category"), default),
        severity=severity_of(item),
        action="alert",
        patterns=patterns,
        pointer=item.pointer,
        min_count=count,
        enabled=item.flag("enabled", default=True),
    )
    item.finish(
        ITEM_REASONS | {"weightThreshold": "variants count alike", "maxMatches": "every hit is reported, up to a bound"}
    )
