"""Texts that look like data in disguise."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from typing import Final

from rules.model import Target
from rules.redact import MASK_OF_RUN
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

ENCODINGS: Final = {
    "CONTENT_ENCODINGDETECTED_BASE64": re.compile(r"[A-Za-z0-9+/_-]{2048,}={0,2}"),
    "CONTENT_ENCODINGDETECTED_HEX": re.compile(r"(?:[0-9a-fA-F]{2}){1024,}|(?:\\x[0-9a-fA-F]{2}){256,}"),
    "CONTENT_ENCODINGDETECTED_URL": re.compile(r"(?:%[0-9a-fA-F]{2}){128,}"),
    "CONTENT_ENCODINGDETECTED_UNICODE": re.compile(r"(?:\\u[0-9a-fA-F]{4}){128,}"),
}
"""Runs far longer than keys, hashes, tokens and escaped words are. Files travel so too, which is why it takes this much."""
MIN_MASKED_CHARS = 2048
_HEX_DIGITS: Final = frozenset(string.hexdigits)
ENCODED_TARGETS: Final = frozenset({Target.TOOL_ARGS, Target.PROMPT})
"""What leaves; a result or an answer that holds an encoded file is everyday."""


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
            evidence = f"{bits:.1f} bits a byte over {len(data)} bytes at {text.path or '/'}"
            found[rule_id] = Suspicion(rule_id, evidence, text.target)
    return list(found.values())


def encoded(call: Observation) -> list[Suspicion]:
    """One suspicion for each encoding in which something long leaves with this call."""
    found: dict[str, Suspicion] = {}
    for text in call.texts:
        if text.target not in ENCODED_TARGETS:
            continue
        part = text.text[:MAX_BYTES]
        runs = [
            (rule_id, match.end() - match.start())
            for rule_id, pattern in ENCODINGS.items()
            if (match := pattern.search(part))
        ]
        for rule_id, size in [*runs, *_masked_runs(part)]:
            evidence = f"a run of {size} characters at {text.path or '/'}"
            found.setdefault(rule_id, Suspicion(rule_id, evidence, text.target))
    if "CONTENT_ENCODINGDETECTED_HEX" in found:
        # Hexadecimal digits are letters of base64 as well.
        found.pop("CONTENT_ENCODINGDETECTED_BASE64", None)
    return list(found.values())


def _masked_runs(text: str) -> list[tuple[str, int]]:
    """Runs of which captured texts show only the beginning. One that begins with digits may be a column of numbers."""
    kinds = {True: "CONTENT_ENCODINGDETECTED_HEX", False: "CONTENT_ENCODINGDETECTED_BASE64"}
    return [
        (kinds[_HEX_DIGITS.issuperset(mask[1])], int(mask[2]))
        for mask in MASK_OF_RUN.finditer(text)
        if int(mask[2]) >= MIN_MASKED_CHARS and not mask[1].isdigit()
    ]
