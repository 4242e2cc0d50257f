"""Canonical JSON (RFC 8785, JCS): one byte string for one value, however it was written, and its SHA-256.

One departure, for safety: an integer beyond 2⁵³ keeps its digits, where RFC 8785 would round it to a double, so that
two integers never have the same form.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 128
MAX_NODES: Final = 100_000
MAX_INTEGER_BITS: Final = 1_100
"""More than the largest double has."""


class NotCanonical(ValueError):
    """The value has no canonical form: not JSON, a lone surrogate, too deep or too large."""


def canonical_json(value: Any) -> bytes:
    """The canonical form in UTF-8; raises `NotCanonical`."""
    pieces: list[str] = []
    _write(value, pieces, 0)
    try:
        return "".join(pieces).encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("a lone surrogate") from None


def sha256(data: bytes) -> str:
    """The digest in lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: Any) -> str:
    """The digest of the canonical form; raises `NotCanonical`."""
    return sha256(canonical_json(value))


def _write(value: Any, pieces: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH} levels")
    if len(pieces) > 4 * MAX_NODES:
        raise NotCanonical(f"more than {MAX_NODES} values")
    if type(value) is dict:
        _write_object(value, pieces, depth)
    elif type(value) is list:
        pieces.append("[")
        for index, member in enumerate(value):
            if index:
                pieces.append(",")
            _write(member, pieces, depth + 1)
        pieces.append("]")
    else:
        pieces.append(_scalar(value))


def _write_object(value: dict[Any, Any], pieces: list[str], depth: int) -> None:
    try:
        keys = sorted(value, key=_utf16)
    except (UnicodeEncodeError, AttributeError):
        raise NotCanonical("a key that is no text") from None
    pieces.append("{")
    for index, key in enumerate(keys):
        pieces.append(("," if index else "") + json.dumps(key, ensure_ascii=False) + ":")
        _write(value[key], pieces, depth + 1)
    pieces.append("}")


def _utf16(key: str) -> bytes:
    """Keys are ordered by UTF-16 code units (RFC 8785 §3.2.3)."""
    return key.encode("utf-16-be")


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        return json.dumps(value, ensure_ascii=False)
    if type(value) is int:
        return _integer(value)
    if type(value) is float:
        return _number(value)
    raise NotCanonical(f"{type(value).__name__} is not JSON")


def _integer(value: int) -> str:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise NotCanonical("a number with too many digits")
    return str(value)


def _number(value: float) -> str:
    """A double as ECMAScript writes it (RFC 8785 §3.2.2.3): the shortest digits that read back as the same value."""
    if not math.isfinite(value):
        raise NotCanonical("a number that is not finite")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent_text or "0")
    padded = (whole + fraction).rstrip("0")
    digits = padded.lstrip("0")
    point -= len(padded) - len(digits)
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    shown = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{shown}e{point - 1:+d}"
