"""Small policies and packs under the names of the shipped ones, so that tests compile in no time."""

from __future__ import annotations

from app.policies.library import PolicyLibrary
from rules.policy import Policy
from tests.unit.rules.small_packs import pack, rule

PHRASE = "forbidden incantation"
"""A prompt with this phrase is blocked."""


def small_library() -> PolicyLibrary:
    """Three packs, of which `jailbreak` is missing on purpose, and the policies that use them."""
    blocking = rule(
        "PI-0001",
        {"any": [{"re": PHRASE}]},
        (PHRASE, "nothing of note"),
        action="block",
        confidence="high",
        severity="high",
        score=100,
    )
    alerting = rule("SEC-0001", {"any": [{"re": "whispered word"}]}, ("whispered word", "a word"), severity="critical")
    policies = (
        policy("llm-standard-security", "llm", "prompt-injection", "secrets"),
        policy("mcp-standard-security", "mcp", "secrets"),
        policy("llm-incomplete", "llm", "prompt-injection", "jailbreak"),
        policy("monitor-only", "both", "prompt-injection", "secrets", enforcement="log_only"),
    )
    packs = (pack("prompt-injection", blocking), pack("secrets", alerting))
    return PolicyLibrary({item.name: item for item in policies}, {item.name: item for item in packs})


def policy(name: str, type_: str, *packs: str, enforcement: str = "enforce") -> Policy:
    return Policy(
        name=name,
        title=name.replace("-", " "),
        description=f"For tests: {name}.",
        type=type_,  # type: ignore[arg-type]
        packs=packs,
        enforcement=enforcement,  # type: ignore[arg-type]
    )
