"""Tells the dialect of a file and reads it."""

from __future__ import annotations

from typing import Any

from rules.importers import conditional, pattern_lists
from rules.importers.reading import read_document
from rules.importers.report import Imported, ImportRefused

_LISTS = (
    *("rules", "blockedpatterns", "redactpatterns", "redactionrules"),
    *("polymorphicpatterns", "behavioralpatterns", "whitelistpatterns"),
)


def import_policy(data: bytes, *, name: str = "") -> Imported:
    """The policy in a file; `name` (the file's, without its ending) is for one that names itself nowhere.

    Raises `ImportRefused` for bytes that are no policy of a known dialect.
    """
    document = read_document(data)
    if {"metadata", "pack"} & document.keys() and "pack" in document:
        raise ImportRefused("This is a rule pack, not a policy. Name it under `packs` of a policy.")
    if _is_conditional(document):
        return conditional.read(document, name)
    bare = {key.lower().replace("_", "").replace(" ", "").replace("-", ""): value for key, value in document.items()}
    if "redactionrules" in bare:
        return pattern_lists.read(document, name, "redaction rules")
    if any(key in bare for key in _LISTS):
        return pattern_lists.read(document, name, "pattern lists")
    raise ImportRefused("The file is no policy that is known here: it has neither rules nor patterns.")


def _is_conditional(document: dict[str, Any]) -> bool:
    """Whether it is our own format, or AgentGuard's, whose rules are ours."""
    inner = document.get("policy") if isinstance(document.get("policy"), dict) else document
    if not isinstance(inner, dict):
        return False
    own = {"default_action", "rate_limits", "packs", "overrides", "detections", "thresholds", "enforcement"}
    rules = inner.get("rules")
    first = rules[0] if isinstance(rules, list) and rules and isinstance(rules[0], dict) else {}
    if "pattern" in first or "patterns" in first:
        return False
    return bool(own & inner.keys()) or "match" in first
