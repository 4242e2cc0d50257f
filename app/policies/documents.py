"""A policy document on its way between text, JSON value and struct. Pure.

A draft is kept as text because a person may save what cannot be published yet; what can be read is written back in its
canonical form, so that equal policies have equal text.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from app.http.hostile import is_deceptive
from rules.packs import Problem, parse_json
from rules.policy import MAX_POLICY_BYTES, Policy, dump_policy, read_document

ORIGIN = "policy"


def parse(text: str) -> tuple[Any, list[Problem]]:
    """The JSON value of a text and why there is none."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_POLICY_BYTES:
        return None, [Problem(ORIGIN, "", f"larger than {MAX_POLICY_BYTES // 1024} KiB")]
    try:
        value = parse_json(data)
    except ValueError as error:
        return None, [Problem(ORIGIN, "", f"not valid JSON: {error}")]
    if not isinstance(value, dict):
        return None, [Problem(ORIGIN, "", "is not an object")]
    return value, []


def read(value: Any, origin: str = ORIGIN) -> tuple[Policy | None, list[Problem]]:
    """The policy in a JSON value and the problems of its format."""
    return read_document(value, origin)


def canonical(value: Any) -> str:
    """The text of a document: in canonical form where it is a policy, in its own order where it is not yet one."""
    policy, _ = read(value)
    if policy is not None:
        return visible(dump_policy(policy).decode())
    return visible(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def visible(text: str) -> str:
    """The same JSON with characters that nobody sees, or that turn the line around, as escapes: an editor shows no others."""
    if text.isascii():
        return text
    return "".join(
        json.dumps(character)[1:-1] if character != "\n" and is_deceptive(character) else character
        for character in text
    )


def as_value(policy: Policy) -> dict[str, Any]:
    """The JSON value of a policy, without its defaults."""
    value: dict[str, Any] = json.loads(dump_policy(policy))
    return value


def digest(text: str) -> str:
    """What tells whether a text that comes back from a form is the one that was shown there."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
