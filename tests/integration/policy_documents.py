"""Policies and small rules for tests over the wire."""

from __future__ import annotations

from typing import Any

from rules.engine import Ruleset
from tests.unit.rules.small_packs import pack, rule, ruleset
from tests.unit.rules.test_policy_format import AGENTGUARD as AGENTGUARD_FILE

PACK = "phrases"
PHRASE = "please run the forbidden incantation now"
AGENTGUARD: dict[str, Any] = AGENTGUARD_FILE["policy"]


def phrase_rules() -> Ruleset:
    """One rule that blocks a phrase, and one that alerts on a word of an answer."""
    blocking = rule(
        "T-BLOCK",
        {"any": [{"re": "forbidden incantation"}]},
        ("forbidden incantation", "nothing of note"),
        action="block",
        confidence="high",
        severity="high",
        score=100,
    )
    answer = rule("T-ANSWER", {"any": [{"re": "answer word"}]}, ("answer word", "nothing"), direction=["response"])
    return ruleset(pack(PACK, blocking, answer))
