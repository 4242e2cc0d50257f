"""Texts that look like data in disguise."""

from __future__ import annotations

import math
from collections import Counter

from rules.model import Target
from rules.traffic.observation import Observation, Suspicion

MAX_BITS = 7.0
"""Printable ASCII reaches 6.6 bits a byte at most, texts in other scripts stay below 6.5."""
MIN_BYTES = 512
MAX_BYTES = 16_384
TARGETS = {
    Target.TOOL_ARGS: "CONTENT_HIGHENTROPY_ARGUMENTS",
    Target.TOOL_RESULT: "CONTENT_HIGHENTROPY_RESULT",
    Target.PROMPT: "CONTENT_HIGHENTROPY_PROMPT",
    Target.COMPLETION: "CONTENT_HIGHENTROPY_COMPLETION",
}


def entropy_bits(data: bytes) -> float:
    """Shannon entropy in bits per byte."""
    size = len(data)
    return -sum(count / size * math.log2(count / size) for count in Counter(data).values()) if size else 0.0


def _bytes(text: str) -> bytes:
    """The bytes that a text stands for: data put into a text a character a byte, or the text in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def disguised(call: Observation) -> list[Suspicion]:
    """One suspicion for each kind of text of the call that holds more entropy than text does."""
    found: dict[str, Suspicion] = {}
    for text in call.texts:
        rule_id = TARGETS.get(text.target)
        if rule_id is None or rule_id in found or text.text.isascii():
            continue
        data = _bytes(text.text[:MAX_BYTES])
        if len(data) >= MIN_BYTES and (bits := entropy_bits(data)) > MAX_BITS:
            found[rule_id] = Suspicion(rule_id, f"{bits:.1f} bits a byte over {len(data)} bytes at {text.path or '/'}")
    return list(found.values())
