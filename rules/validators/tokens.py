"""Secrets: does a value look chosen by a machine, and does its structure prove it?"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
import re
import zlib
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_STAND_INS = (
    r"example|placeholder|changeme|change_me|change-me|dummy|sample|redacted|your|replace|insert|foobar|todo"
    r"|(?:test|default)[-_]?(?:key|token|secret|password)"
)
_PLACEHOLDER = re.compile(
    # Such a word inside of others is part of what somebody chose: `Iloveyour2cats`.
    rf"(?:^|[^A-Za-z0-9])(?:{_STAND_INS})|(?:{_STAND_INS})(?:key|token|secret)?(?:$|[^A-Za-z0-9])"
    r"|a-zA-Z|A-Za-z|a-z0-9|A-Z0-9|xxxx|\*\*\*|\.\.\.|<[^<>]*>|\$\{|\{\{|%\(",
    re.IGNORECASE,
)
_FEW_CHARS = 8
"""Characters of which the longest stand-ins are made; what a machine makes has more, but never more than its alphabet."""
_LONG_CHARACTERS = 256
_STAND_IN_SHARE = 50
_REFERENCE = re.compile(
    r"\$[A-Z_{(][\w{}():.-]*|%[A-Z_]\w*%"  # of a shell or a template
    r"|[A-Z][A-Z0-9]{1,24}(?:_[A-Z]{2,24}){1,8}"  # a constant or a variable of the environment
    r"|(?:[A-Za-z_]\w*\.)+\w*(?i:password|passwd|token|key|secret|credentials?)"  # a member that is called so
    r"|(?:[A-Za-z_]\w*\.)*(?:environ|env|config|conf|cfg|settings|options|params|self|this|request|req|secrets?|vault"
    r"|data|local|module|var)(?:\.[A-Za-z_]\w*)+"
    r"|(?:[A-Za-z_]\w*\.)*get_[A-Za-z_]+"
    r"|vault:[\w./#-]+|projects/[\w.-]+/secrets/[\w./-]+",
)


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values()) if size else 0.0


def not_placeholder(value: str) -> bool:
    """Whether the value looks chosen by a machine: no stand-in word, no run of one character, no plain sequence."""
    if _PLACEHOLDER.search(value) and (len(value) < _LONG_CHARACTERS or _is_of_stand_ins(value)):
        return False
    core = [char.lower() for char in value if char.isalnum()]
    if len(core) < 4:
        return True
    if len(set(core)) <= max(2, min(len(core) // 12, _FEW_CHARS)):
        return False
    steps = Counter(ord(right) - ord(left) for left, right in itertools.pairwise(core))
    straight = max(steps.get(0, 0), steps.get(1, 0), steps.get(-1, 0))
    return straight * 10 < (len(core) - 1) * 6


def _is_of_stand_ins(value: str) -> bool:
    """Whether stand-ins are a part of a long value that no accident explains: one private key in hundreds holds `xXxX`."""
    return _STAND_IN_SHARE * sum(len(match[0]) for match in _PLACEHOLDER.finditer(value)) >= len(value)


def letters_and_digits(value: str) -> bool:
    """Whether the value holds both, as what a machine makes does, and words and numbers do not."""
    return value.isascii() and any(char.isdigit() for char in value) and any(char.isalpha() for char in value)


def not_reference(value: str) -> bool:
    """Whether the value is itself, and not the name of where a program finds it: `config.token`, `$API_KEY`, `API_KEY`."""
    return _REFERENCE.fullmatch(value) is None


def jwt(value: str) -> bool:
    """Whether the first of three dot-separated parts is a JWS header (RFC 7515 §4): base64url JSON with `alg`.

    A token with so many claims that a pattern ends within them has two.
    """
    parts = value.split(".")
    if len(parts) != 3 and not (len(parts) == 2 and len(parts[1]) >= _MANY_CLAIMS_CHARACTERS):
        return False
    if not parts[1]:
        return False
    raw = _decode_base64(parts[0])
    if raw is None:
        return False
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and isinstance(header.get("alg"), str)


def crc32_base62(value: str) -> bool:
    """Whether the last six characters are the base-62 CRC-32 of the rest after the prefix (`ghp_`, `npm_`, …)."""
    body = value.rsplit("_", 1)[-1]
    if len(body) < 12:
        return False
    number = zlib.crc32(body[:-6].encode("utf-8", "replace"))
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits == body[-6:]


def base64_text(value: str) -> bool:
    """Whether the value is base64 (either alphabet) of text that is nine tenths printable."""
    raw = _decode_base64(value)
    if not raw:
        return False
    text = raw.decode("utf-8", "replace")
    readable = sum((char.isprintable() and char != "\ufffd") or char in "\t\r\n" for char in text)
    return readable * 10 >= len(text) * 9


def _decode_base64(value: str) -> bytes | None:
    compact = value.translate(_TO_STANDARD_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


_MANY_CLAIMS_CHARACTERS = 600
_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/")


_AROUND_LINE = re.compile(r"^[\s>|#\"'-]+|[\"']\s*\+?\s*$|\s+$")
"""What quoting, a comment, a margin or the strings of a program put around a line."""
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/]+=*|(?:[A-Za-z0-9+/]{60,80} )+[A-Za-z0-9+/]+=*(?: .*)?")
"""A line of a body, or several that were joined with spaces."""


def pem_body(value: str) -> bool:
    """Whether the text between the lines of a PEM file (RFC 7468) is base64, wherever it may be cut off."""
    lines = [_AROUND_LINE.sub("", line) for line in value.replace("\\n", "\n").replace("\\r", "").split("\n")]
    # Headers such as Proc-Type stand in old files before the body.
    body = [line for line in lines if line and ":" not in line]
    compact = "".join(itertools.takewhile(_BASE64_LINE.fullmatch, body)).replace(" ", "")
    # The body ends with its padding; what follows, where the last line of the file is missing, is something else.
    whole = compact.partition("=")[0]
    return len(whole) >= 24 and _decode_base64(whole[: len(whole) // 4 * 4]) is not None
