"""Rules that mask: reversible e-mail addresses and names, irreversible keys, and one that blocks."""

from __future__ import annotations

from functools import cache
from typing import Any

from rules.engine import Ruleset
from rules.model import Target
from rules.packs import Pack
from tests.unit.rules.small_packs import pack, rule, ruleset

EMAIL = "zoe.ohara@example.com"
KEY = "AKIA" + "Q3EGRM5NAZT7W2LB"
"""A key of valid shape; it belongs to nobody."""
BLOCKED = "open the pod bay doors"
PLACEHOLDER = r"\[EMAIL_[a-km-np-z2-9]{8}\]"

EVERYWHERE = [target.value for target in Target]


def masking_rule(rule_id: str, pattern: str, category: str, **fields: Any) -> dict[str, Any]:
    fields = {"action": "redact", "targets": EVERYWHERE, **fields}
    return rule(rule_id, {"any": [{"re": pattern}]}, ("a", "b"), category=category, **fields)


def masking_pack() -> Pack:
    return pack(
        "masking",
        masking_rule(
            "PII-EMAIL",
            r"\b[A-Za-z0-9._-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b",
            "pii/email",
            capture={"group": 0, "reversible": True},
        ),
        masking_rule("SEC-AWS", r"\bAKIA[A-Z2-7]{16}\b", "secrets/aws"),
        masking_rule(
            "SEC-PASSWORD",
            r"\bpassword\s{0,3}[:=]\s{0,3}([^\s\"']{8,64})",
            "secrets/password",
            capture={"group": 1, "redact_as": "PASSWORD"},
        ),
        masking_rule("X-DOORS", BLOCKED, "test/any", action="block", confidence="high", score=90),
    )


@cache
def masking_ruleset() -> Ruleset:
    return ruleset(masking_pack())


@cache
def certain_ruleset() -> Ruleset:
    """One rule that masks addresses with high confidence."""
    pattern = r"\b[A-Za-z0-9._-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"
    return ruleset(pack("certain", masking_rule("PII-EMAIL", pattern, "pii/email", confidence="high")))


@cache
def prompts_ruleset() -> Ruleset:
    """Rules that read prompts and no definitions: one that masks addresses, and one that blocks."""
    pattern = r"\b[A-Za-z0-9._-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"
    capture = {"group": 0, "reversible": True}
    address = masking_rule("PII-EMAIL", pattern, "pii/email", targets=["prompt"], capture=capture)
    doors = {"action": "block", "confidence": "high", "score": 90, "targets": ["prompt"]}
    return ruleset(pack("prompts", address, masking_rule("X-DOORS", BLOCKED, "test/any", **doors)))
