"""Judges of a captured value: what a pattern cannot say.

A rule names them in `validators`, and all of them must accept. `tokens` judges secrets (randomness, stand-ins, JWT,
checksums of vendors), `checksums` payment cards and IBANs, `national_ids` the numbers of persons, `wallets` the
addresses of cryptocurrencies, `addresses` network and mail addresses, and `phones` telephone numbers. `crc32_base62`
never rejects: a right checksum raises the confidence of the finding to high. `context:[card,visa]±40` is not a judge
of the value but a condition near it; `parse` returns it as a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rules.packs import MAX_WITHIN_CHARS, Near
from rules.validators.addresses import email, host_disguised, host_internal, ip_external, ip_lan, ip_private, ip_public
from rules.validators.checksums import card, iban, luhn, mod97, verhoeff
from rules.validators.national_ids import NATIONAL_IDS
from rules.validators.phones import phone
from rules.validators.tokens import (
    base64_text,
    crc32_base62,
    entropy,
    jwt,
    letters_and_digits,
    not_placeholder,
    not_reference,
    pem_body,
)
from rules.validators.wallets import base58check, bech32, eip55

_ENTROPY = re.compile(r"entropy>=(\d(?:\.\d{1,2})?)")
_CONTEXT = re.compile(r"context:\[([^\[\]]{1,500})\]±(\d{1,3})")

Judge = Callable[[str], bool]


class Validators(NamedTuple):
    """The parsed validators of one rule."""

    judges: tuple[Judge, ...]
    raisers: tuple[Judge, ...]
    context: tuple[Near, ...]

    def accept(self, value: str) -> bool:
        """Whether every judge accepts the value."""
        for judge in self.judges:  # noqa: SIM110 - A generator costs more than most judges.
            if not judge(value):
                return False
        return True

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
    "card": card,
    "iban": iban,
    "mod97": mod97,
    "verhoeff": verhoeff,
    "base58check": base58check,
    "bech32": bech32,
    "eip55": eip55,
    "not_placeholder": not_placeholder,
    "not_reference": not_reference,
    "letters_and_digits": letters_and_digits,
    "jwt": jwt,
    "pem_body": pem_body,
    "base64_text": base64_text,
    "email": email,
    "ip_private": ip_private,
    "ip_public": ip_public,
    "ip_external": ip_external,
    "ip_lan": ip_lan,
    "host_internal": host_internal,
    "host_disguised": host_disguised,
    "phone": phone,
    **{f"id:{name}": judge for name, judge in NATIONAL_IDS.items()},
}
_RAISERS: dict[str, Judge] = {"crc32_base62": crc32_base62}
