"""A small ruleset for transport tests: what it finds is known here and does not change with the shipped packs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from rules.engine import Ruleset
from rules.model import Target
from rules.packs import load_pack
from tests.support.kept_rules import kept_ruleset

BLOCKED = "BLOCK-THIS-TEXT"
ALERTED = "ALERT-ON-THIS-TEXT"
RESPONSE_BLOCKED = "BLOCK-THIS-ANSWER"


def _rule(id: str, text: str, action: str, directions: list[str]) -> dict[str, Any]:
    return {
        "id": id,
        "title": f"Test text {text}",
        "category": "test/text",
        "severity": "high",
        "confidence": "high",
        "score": 90,
        "targets": [target.value for target in Target],
        "direction": directions,
        "views": ["raw", "decoded"],
        "match": {"any": [{"re": text}]},
        "action": action,
        "examples": {"match": [f"say {text}", f"{text}!"], "no_match": ["nothing", "something else"]},
        "false_positives": "None: the text has no meaning.",
    }


@cache
def small_ruleset() -> Ruleset:
    """Blocks `BLOCKED` everywhere and `RESPONSE_BLOCKED` in answers, alerts on `ALERTED`."""
    pack = {
        "pack": "test-texts",
        "version": "1.0.0",
        "title": "Test texts",
        "description": "Fixed texts without meaning.",
        "rules": [
            _rule("TEST-0001", BLOCKED, "block", ["request", "response"]),
            _rule("TEST-0002", ALERTED, "alert", ["request", "response"]),
            _rule("TEST-0003", RESPONSE_BLOCKED, "block", ["response"]),
        ],
    }
    return kept_ruleset(load_pack(json.dumps(pack).encode(), origin="tests"))
