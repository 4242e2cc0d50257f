"""What the API and the pages say about policies and packs."""

from __future__ import annotations

import msgspec


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """One policy. `severity` is the worst that its rules can report; `active` is false when a pack is missing."""

    name: str
    title: str
    description: str
    type: str
    packs: list[str]
    enforcement: str
    severity: str
    rule_count: int
    active: bool
    shipped: bool


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a pack, with the examples that are its tests."""

    id: str
    rev: int
    title: str
    category: str
    severity: str
    confidence: str
    score: int
    action: str
    targets: list[str]
    direction: list[str]
    views: list[str]
    validators: list[str]
    patterns: list[str]
    owasp_llm: list[str]
    owasp_mcp: list[str]
    owasp_asi: list[str]
    atlas: list[str]
    cwe: list[str]
    examples_match: list[str]
    examples_no_match: list[str]
    false_positives: str
    references: list[str]


class PackSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One pack without its rules."""

    name: str
    version: str
    title: str
    description: str
    rule_count: int
    policies: list[str]


class PackView(msgspec.Struct, frozen=True, kw_only=True):
    """One pack with its rules."""

    name: str
    version: str
    title: str
    description: str
    rule_count: int
    policies: list[str]
    rules: list[RuleView]
