"""Judges of a captured value: what a pattern cannot say.

Names as they stand in a rule's `validators`: `luhn`, `iban`, `entropy>=3.5`, `not_placeholder`, `jwt`,
`crc32_base62`, `ip_private`, `ip_public`, `base64_text`, and `context:[card,visa]±40`. All of them must accept.
`crc32_base62` never rejects: a right checksum raises the confidence of the finding to high. `context` is not a
judge of the value but a condition near it; `parse` returns it as a pattern.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rules.packs import MAX_WITHIN_CHARS, Near

_ENTROPY = re.compile(r"entropy>=(\d(?:\.\d{1,2})?)")
_CONTEXT = re.compile(r"context:\[([^\[\]]{1,500})\]±(\d{1,3})")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PLACEHOLDER = re.compile(
    r"example|placeholder|changeme|change_me|dummy|sample|redacted|your[-_ ]?|replace|insert|foobar|todo"
    r"|xxxx|\*\*\*|\.\.\."
    r"|<[^<>]*>|\$\{|\{\{|%\(|test[-_]?(?:key|token|secret|password)",
    re.IGNORECASE,
)
_BYTE = "(?:0|[1-9]\\d?|1\\d\\d|2[0-4]\\d|25[0-5])"
_PLAIN_IPV4 = re.compile(rf"({_BYTE})\.({_BYTE})\.{_BYTE}\.{_BYTE}", re.ASCII)
_MIXED_BLOCKS = frozenset({100, 169, 172, 192, 198, 203})
"""First bytes of IPv4 addresses of which the IANA registry of special-purpose addresses sets some apart."""
_SPECIAL_BLOCKS = frozenset({0, 10, 127, *range(224, 256)})
"""First bytes of which it sets all apart."""
_IBAN_SHAPE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")

Judge = Callable[[str], bool]


class Validators(NamedTuple):
    """The parsed validators of one rule."""

    judges: tuple[Judge, ...]
    raisers: tuple[Judge, ...]
    context: tuple[Near, ...]

    def accept(self, value: str) -> bool:
        """Whether every judge accepts the value."""
        return all(judge(value) for judge in self.judges)

    def raises_confidence(self, value: str) -> bool:
        """Whether a checksum proves the value to be what it looks like."""
        return any(judge(value) for judge in self.raisers)


def parse(names: Sequence[str]) -> Validators:
    """The validators with these names; raises ValueError naming an unknown one."""
    judges: list[Judge] = []
    raisers: list[Judge] = []
    context: list[Near] = []
    for name in names:
        if name in _JUDGES:
            judges.append(_JUDGES[name])
        elif name in _RAISERS:
            raisers.append(_RAISERS[name])
        elif match := _ENTROPY.fullmatch(name):
            judges.append(_entropy_at_least(float(match[1])))
        elif match := _CONTEXT.fullmatch(name):
            context.append(_context(match[1], int(match[2])))
        else:
            raise ValueError(f"unknown validator {name!r}")
    return Validators(tuple(judges), tuple(raisers), tuple(context))


def luhn(value: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1), spaces and dashes ignored; 12 to 19 digits, not all equal."""
    digits = [ord(char) - 48 for char in value if "0" <= char <= "9"]
    if not 12 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = sum(digits[-1::-2])
    for digit in digits[-2::-2]:
        total += digit * 2 - 9 if digit > 4 else digit * 2
    return total % 10 == 0


def iban(value: str) -> bool:
    """The check digits of an IBAN (ISO 13616, ISO 7064 mod 97-10), spaces ignored."""
    compact = value.replace(" ", "").replace("-", "").upper()
    if not _IBAN_SHAPE.fullmatch(compact):
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in rearranged)) % 97 == 1


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values()) if size else 0.0


def not_placeholder(value: str) -> bool:
    """Whether the value looks chosen by a machine: no stand-in word, no run of one character, no plain sequence."""
    if _PLACEHOLDER.search(value):
        return False
    core = [char.lower() for char in value if char.isalnum()]
    if len(core) < 4:
        return True
    if len(set(core)) <= max(2, len(core) // 12):
        return False
    steps = Counter(ord(right) - ord(left) for left, right in itertools.pairwise(core))
    straight = max(steps.get(0, 0), steps.get(1, 0), steps.get(-1, 0))
    return straight * 10 < (len(core) - 1) * 6


def jwt(value: str) -> bool:
    """Whether the first of three dot-separated parts is a JWS header (RFC 7515 §4): base64url JSON with `alg`."""
    parts = value.split(".")
    if len(parts) != 3 or not parts[1]:
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


def ip_private(value: str) -> bool:
    """Whether the value is an address that no outside host has: private, loopback, link-local, unspecified."""
    address = _address(value)
    return address is not None and not address.is_global and not address.is_multicast


def ip_public(value: str) -> bool:
    """Whether the value is a globally reachable unicast address."""
    if match := _PLAIN_IPV4.fullmatch(value):
        block = int(match[1])
        if block not in _MIXED_BLOCKS:
            return block not in _SPECIAL_BLOCKS
        if block == 192 and match[2] == "168":
            return False
    address = _address(value)
    return address is not None and address.is_global and not address.is_multicast


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


_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _entropy_at_least(minimum: float) -> Judge:
    return lambda value: entropy(value) >= minimum


def _context(words: str, within: int) -> Near:
    if not 1 <= within <= MAX_WITHIN_CHARS:
        raise ValueError(f"context distance {within} is not between 1 and {MAX_WITHIN_CHARS}")
    alternatives = [re.escape(word.strip()) for word in words.split(",") if word.strip()]
    if not alternatives:
        raise ValueError("context without a word")
    return Near(re=rf"(?:{'|'.join(alternatives)})", within=within, flags="i")


_JUDGES: dict[str, Judge] = {
    "luhn": luhn,
    "iban": iban,
    "not_placeholder": not_placeholder,
    "jwt": jwt,
    "ip_private": ip_private,
    "ip_public": ip_public,
    "base64_text": base64_text,
}
_RAISERS: dict[str, Judge] = {"crc32_base62": crc32_base62}
