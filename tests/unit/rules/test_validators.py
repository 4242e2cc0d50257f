"""Judges of captured values. Numbers are the published test numbers of their standards or computed here."""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import zlib

import pytest

from rules.packs import Near
from rules.validators import ip_public, parse


def accepts(name: str, value: str) -> bool:
    return parse([name]).accept(value)


def token(prefix: str, body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[rest] + digits
    return prefix + body + digits


def jose(header: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=") + ".eyJzdWIiOiIxIn0.c2ln"


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("luhn", "4111 1111 1111 1111", True),
        ("luhn", "378282246310005", True),
        ("luhn", "4111-1111-1111-1112", False),
        ("luhn", "0000 0000 0000 0000", False),
        ("luhn", "18", False),
        ("luhn", "4" * 20, False),
        ("iban", "GB82 WEST 1234 5698 7654 32", True),
        ("iban", "de89370400440532013000", True),
        ("iban", "GB82 WEST 1234 5698 7654 33", False),
        ("iban", "not an iban", False),
        ("entropy>=3.5", "hT7!kq0Zp2wQx9", True),
        ("entropy>=3.5", "aaaaaaaaaaaaab", False),
        ("entropy>=0", "", True),
        ("entropy>=1", "", False),
        ("not_placeholder", "hT7kq0Zp2wQ", True),
        ("not_placeholder", "abc", True),
        ("not_placeholder", "your-api-key-here", False),
        ("not_placeholder", "sk-XXXXXXXXXXXX", False),
        ("not_placeholder", "<token>", False),
        ("not_placeholder", "${API_KEY}", False),
        ("not_placeholder", "AKIAIOSFODNN7EXAMPLE", False),
        ("not_placeholder", "abcdefghijklmnop", False),
        ("not_placeholder", "9876543210", False),
        ("not_placeholder", "ababababababab", False),
        ("jwt", jose({"alg": "HS256"}), True),
        ("jwt", jose({"typ": "JWT"}), False),
        ("jwt", jose(["alg"]), False),
        ("jwt", "abc.def.ghi", False),
        ("jwt", "%%%.def.ghi", False),
        ("jwt", "one.two", False),
        ("ip_private", "10.1.2.3", True),
        ("ip_private", "169.254.169.254", True),
        ("ip_private", "[::1]", True),
        ("ip_private", "::ffff:127.0.0.1", True),
        ("ip_private", "8.8.8.8", False),
        ("ip_private", "224.0.0.1", False),
        ("ip_private", "999.1.1.1", False),
        ("ip_public", "8.8.8.8", True),
        ("ip_public", "192.168.0.1", False),
        ("ip_public", "nothing", False),
        ("base64_text", base64.b64encode(b"plain words, even lines\n").decode(), True),
        ("base64_text", base64.b64encode(bytes(range(128, 200))).decode(), False),
        ("base64_text", "", False),
        ("base64_text", "not base64!", False),
    ],
)
def test_judges(name: str, value: str, accepted: bool) -> None:
    assert accepts(name, value) is accepted


def test_all_judges_must_accept() -> None:
    both = parse(["luhn", "entropy>=2"])
    assert not both.accept("4111 1111 1111 1111")
    assert both.accept("4539 1488 0343 6467")


def test_a_right_checksum_raises_the_confidence_and_a_wrong_one_rejects_nothing() -> None:
    rules = parse(["crc32_base62"])
    good = token("ghp_", "Ab3dEf6hIj9lMn2pQr5tUv8xYz1234")
    assert rules.accept(good)
    assert rules.raises_confidence(good)
    assert rules.accept(good[:-1] + "!")
    assert not rules.raises_confidence(good[:-1] + "!")
    assert not rules.raises_confidence("ghp_short")


def test_context_is_a_condition_near_the_anchor() -> None:
    assert parse(["context:[card, visa c.]±40"]).context == (Near(re=r"(?:card|visa\ c\.)", within=40, flags="i"),)


@pytest.mark.parametrize(
    "name", ["", "LUHN", "entropy>=x", "entropy", "context:[]±4", "context:[ , ]±4", "context:[a]±999"]
)
def test_unknown_validators_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"validator|context"):
        parse([name])


def test_public_addresses_are_those_of_the_standard_library() -> None:
    rng = random.Random(4)
    wrong: list[str] = []
    for first in range(256):
        for _ in range(40):
            value = f"{first}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
            address = ipaddress.ip_address(value)
            if ip_public(value) is not (address.is_global and not address.is_multicast):
                wrong.append(value)
    edges = ("100.63.255.255", "100.64.0.0", "169.254.0.1", "172.15.0.1", "172.16.0.1", "192.0.2.1", "192.167.0.1")
    edges += ("192.168.0.1", "198.17.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "203.0.114.1", "192.88.99.1")
    for value in edges:
        if ip_public(value) is not ipaddress.ip_address(value).is_global:
            wrong.append(value)
    assert wrong == []
    assert not ip_public("1.2.3")
    assert not ip_public("1.2.3.04")
    assert not ip_public("256.2.3.4")
