"""The whole condition of a detection rule in plain words, in the order in which it is decided. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from rules.packs import Absent, Near, Pattern, Rule

FLAGS = {"i": "ignores case", "m": "^ and $ also at line ends", "s": ". also matches line ends"}
VALIDATORS = {
    "luhn": "12 to 19 digits with a right check digit",
    "card": "a card number of a large network, with a right check digit",
    "iban": "an IBAN of the length of its country, with right check digits",
    "mod97": "a number with right check digits (ISO 7064 mod 97-10)",
    "verhoeff": "a number with a right check digit (Verhoeff)",
    "base58check": "an address or key with a right Base58 checksum",
    "bech32": "an address with a right Bech32 checksum",
    "eip55": "an address with a right EIP-55 checksum, or in one case throughout",
    "not_placeholder": "no stand-in such as “example”, “your-…”, “<…>” or a plain sequence",
    "not_reference": "not the name of where a program finds it, such as config.token or $API_KEY",
    "letters_and_digits": "made of letters and digits, both",
    "jwt": "three parts, the first of them a JWS header",
    "pem_body": "base64 as in a PEM file",
    "base64_text": "base64 of readable text",
    "email": "an address that can receive mail",
    "ip_private": "an address that is not globally reachable",
    "ip_public": "a globally reachable address",
    "ip_external": "a globally reachable address, or one set apart for documentation",
    "ip_lan": "an address in a private network or on a link, not loopback",
    "host_internal": "a host that is not globally reachable, in any notation",
    "host_disguised": "a host that is not globally reachable, written in an unusual way",
    "phone": "a number of a length that exists in its country",
}
"""What each judge accepts; `docs/rule-packs.md` says the same at more length."""
CHECKSUM = "crc32_base62"

_CONTEXT = re.compile(r"context:\[(.*)\]±(\d+)")


class Words(msgspec.Struct, frozen=True):
    """A pattern as it is shown: its text, and what its flags mean."""

    re: str
    flags: str


class Part(msgspec.Struct, frozen=True):
    """One part of a condition: a sentence, the patterns it speaks of, and what it asks of the value."""

    words: str
    patterns: tuple[Words, ...] = ()
    flags: str = ""
    """What the flags of all its patterns mean, where they are the same."""
    points: tuple[str, ...] = ()


def condition(rule: Rule) -> list[Part]:
    """When the rule hits; every part must hold. Nothing for a rule without patterns, which lint refuses."""
    match = rule.match
    anchors, others = (match.all[:1], match.all[1:]) if match.all else (match.any, ())
    if not anchors:
        return []
    made = [_part(f"The text holds {_this(anchors)}. Each place where it does is a match.", anchors)]
    if others:
        made.append(_part(f"The same text also holds {_these(others)}, anywhere.", others))
    if match.all and match.any:
        made.append(_part(f"The same text also holds {_this(match.any)}, anywhere.", match.any))
    for within in dict.fromkeys(item.within for item in match.near):
        near = [item for item in match.near if item.within == within]
        made.append(_part(f"In the match or at most {within} characters from it stands {_these(near)}.", near))
    contexts = [found for name in rule.validators if (found := _CONTEXT.fullmatch(name))]
    for words, distance in (found.groups() for found in contexts):
        made.append(
            Part(f"In the match or at most {distance} characters from it stands one of the words {_list(words)}.")
        )
    for kind in dict.fromkeys((item.within, item.overlaps) for item in match.none):
        absent = [item for item in match.none if (item.within, item.overlaps) == kind]
        made.append(_part(_absent(absent), absent))
    judges = [name for name in rule.validators if not _CONTEXT.fullmatch(name) and name != CHECKSUM]
    if judges:
        value = f"What group {rule.capture.group} of the match holds" if rule.capture.group else "The match"
        made.append(Part(f"{value} is:", points=tuple(map(_judge, judges))))
    if match.min_count > 1:
        made.append(Part(f"One text holds at least {match.min_count} such matches; fewer are no hit."))
    if CHECKSUM in rule.validators:
        made.append(Part("It hits without a right checksum too; with one its confidence is high."))
    return made


def _absent(items: Sequence[Absent]) -> str:
    within = items[0].within
    if within is None:
        return f"The text does not hold {_any(items)}, anywhere."
    if items[0].overlaps:
        return f"The match shares no character with {_any(items)}; beside it that may stand."
    return f"Neither in the match nor at most {within} characters from it stands {_any(items)}."


def _judge(name: str) -> str:
    if name.startswith("id:"):
        return f"a number whose check digits, and date where it has one, are right for {name}"
    if name.startswith("entropy>="):
        return f"as random as at least {name.removeprefix('entropy>=')} bits per character"
    return VALIDATORS.get(name, name)


def _list(words: str) -> str:
    return ", ".join(f"“{word.strip()}”" for word in words.split(",")) + ", case ignored"


def _this(items: Sequence[object]) -> str:
    return "this" if len(items) == 1 else f"one of these {len(items)}"


def _these(items: Sequence[object]) -> str:
    return "this" if len(items) == 1 else f"each of these {len(items)}"


def _any(items: Sequence[object]) -> str:
    return "this" if len(items) == 1 else f"any of these {len(items)}"


def _part(words: str, items: Sequence[Pattern | Near | Absent]) -> Part:
    flags = {", ".join(FLAGS[flag] for flag in item.flags) for item in items}
    shared = flags.pop() if len(flags) == 1 else ""
    patterns = (Words(item.re, "" if shared else ", ".join(FLAGS[flag] for flag in item.flags)) for item in items)
    return Part(words, tuple(patterns), shared)
