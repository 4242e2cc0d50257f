"""Judges of captured values. Numbers are the published test numbers of their standards or computed here."""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.packs import Near
from rules.validators import _JUDGES, ip_public, parse
from rules.validators.wallets import keccak_256


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
        ("not_placeholder", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", False),
        ("not_placeholder", "my_test_key_12345", False),
        ("not_placeholder", "default-token-value-1", False),
        ("not_placeholder", "a-zA-Z0-9-_/+=.@!", False),
        ("not_placeholder", "Iloveyour2cats!", True),
        ("not_placeholder", "MyDummyDog2031!", True),
        ("not_placeholder", "abcdefghijklmnop", False),
        ("letters_and_digits", "a1", True),
        ("letters_and_digits", "internationalization", False),
        ("letters_and_digits", "20310102", False),
        ("letters_and_digits", "ключ1", False),
        ("not_reference", "config.get_client_secret_value", False),
        ("not_reference", "process.env.VENDOR_KEY", False),
        ("not_reference", "data.aws_secretsmanager_secret_version.db.secret_string", False),
        ("not_reference", "P12_CONTAINER_PASSWORD", False),
        ("not_reference", "$VENDOR_API_KEY", False),
        ("not_reference", "ed25519.Ed25519PrivateKey", False),
        ("not_reference", "projects/one/secrets/deploy", False),
        ("not_reference", "CErVpwkV6WWPaBnYbNBJzffzyCEVk01L", True),
        ("not_reference", "correct.horse.battery.staple", True),
        ("not_reference", "A1B2_C3D4_E5F6", True),
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
        ("card", "4111-1111-1111-1111", True),
        ("card", "3782 822463 10005", True),
        ("card", "9792 0300 0000 0000", False),
        ("card", "4222222222222", False),
        ("card", "4111 1111\n1111 1111", True),
        ("card", "4541\n3729\n6243\n9536", False),
        ("card", "4118\t1837\n7158\t3197", False),
        ("card", "3542 3543 3544 3552", False),
        ("card", "550781 0.449219 1 1 1", False),
        ("card", "4111.1111.1111.1111", True),
        ("card", "4242 4242 4242 4242", True),
        ("iban", "NO9386011117947", True),
        ("iban", "XX82WEST12345698765432", False),
        ("iban", "GB82WEST1234569876543", False),
        ("mod97", "3214282912345698765432161182", True),
        ("mod97", "", False),
        ("verhoeff", "2363", True),
        ("verhoeff", "2364", False),
        ("verhoeff", "", False),
        ("base58check", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", True),
        ("base58check", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", True),
        ("base58check", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", False),
        ("base58check", "0OIl", False),
        ("base58check", "", False),
        ("bech32", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", True),
        ("bech32", "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", True),
        ("bech32", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", True),
        ("bech32", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp", False),
        ("bech32", "Bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", False),
        ("bech32", "nothing", False),
        ("eip55", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", True),
        ("eip55", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", True),
        ("eip55", "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359", True),
        ("eip55", "0x5aAeb6053f3E94C9b9A09f33669435E7Ef1BeAed", False),
        ("eip55", "0x" + "0" * 40, False),
        ("eip55", "0x123", False),
        ("pem_body", "MIIEpAIBAAKCAQEA7bq5Zc3k0FhGm2Jt\\nqV9xL1sYw8dRo4uTnEiKpCvBaXzHfQyW", True),
        ("pem_body", "Proc-Type: 4,ENCRYPTED\n\nMIIEpAIBAAKCAQEA7bq5Zc3k0FhGm2Jt", True),
        ("pem_body", "MIIEpAIBAAKCAQEA7bq5Zc3k0FhGm2Jt\nqV9xL1sYw8dRo4uTnEiKpA==\neyJhbGciOiJSUzI1NiJ9", True),
        ("jwt", "eyJhbGciOiJSUzI1NiJ9.eyJ" + "h" * 600, True),
        ("jwt", "eyJhbGciOiJSUzI1NiJ9.eyJ" + "h" * 500, False),
        ("pem_body", "words that are no base64 at all!", False),
        ("not_placeholder", "Uf8g08QLZUCi2G4u2sXxXxgYdC5jOIbZykuW", False),
        ("not_placeholder", "Uf8g08QLZUCi2G4u2sXxXxgYdC5jOIbZykuW" + "q9ZpL2xV4tRnMc8Hs6Jd3FgTa1EbW7yU5k" * 10, True),
        ("not_placeholder", "Uf8g08QLZUCi2G4u2sgYdC5j" + "xxxxyyyyxxxx" * 30, False),
        ("pem_body", "short", False),
        ("email", "jane.doe+x@mail.example.org", True),
        ("email", "logo@2x.png", False),
        ("email", "git@github.com", False),
        ("email", "a..b@example.org", False),
        ("email", "user@1.2.com", False),
        ("ip_external", "85.1.2.3", True),
        ("ip_external", "203.0.113.9", True),
        ("ip_external", "1.1.1.1", True),
        ("ip_external", "8.8.4.4", True),
        ("ip_external", "23.21.50.150", True),
        ("ip_external", "4.17.21.2", False),
        ("ip_external", "7.3.3.31", False),
        ("ip_external", "12.0.0.0", False),
        ("ip_external", "100.64.0.1", True),
        ("ip_external", "2001:db8::1", True),
        ("ip_external", "2a00:1450:4001:82f::200e", True),
        ("ip_external", "dead::beef", False),
        ("ip_external", "632b:295b:7218:efdd:6552:e73d:482d:e719", True),
        ("ip_external", "00:25:96:ff:fe:12:34:56", False),
        ("ip_external", "fd00:295b:7218:efdd:6552:e73d:482d:e719", False),
        ("ip_external", "10.0.0.1", False),
        ("ip_external", "ff02::1", False),
        ("ip_external", "nothing", False),
        ("ip_lan", "192.168.0.4", True),
        ("ip_lan", "fe80::1%eth0", True),
        ("ip_lan", "127.0.0.1", False),
        ("ip_lan", "8.8.8.8", False),
        ("host_internal", "10.0.0.1", True),
        ("host_internal", "[::1]", True),
        ("host_internal", "0x7f.1", True),
        ("host_internal", "8.8.8.8", False),
        ("host_internal", "134744072", False),
        ("host_internal", "example.org", False),
        ("host_internal", "08.1", False),
        ("host_internal", "1.2.3.4.5", False),
        ("host_internal", "256.1.1.1", False),
        ("host_disguised", "2130706433", True),
        ("host_disguised", "0177.0.0.1", True),
        ("host_disguised", "127.1", True),
        ("host_disguised", "127.0.0.1.", True),
        ("host_disguised", "[::ffff:10.0.0.1]", True),
        ("host_disguised", "[64:ff9b::7f00:1]", True),
        ("host_disguised", "[2002:7f00:1::]", True),
        ("host_disguised", "127.0.0.1", False),
        ("host_disguised", "[::1]", False),
        ("host_disguised", "8.8.8.8", False),
        ("phone", "+44 20 7946 0958", True),
        ("phone", "0041 44 668 18 00", True),
        ("phone", "+44 20 7946 0958 12", True),
        ("phone", "+12", False),
        ("phone", "+49 30 1234567 (24", True),
        ("phone", "0049 30 901820", True),
        ("phone", "0046 0046 0049", False),
        ("phone", "001-.594-.21-.594-.48 0", False),
        ("phone", "006.08-.013.125", False),
        ("phone", "+2.0 (2.24.32-5", False),
        ("phone", "+999 123 4567", False),
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


def test_keccak_is_the_hash_of_ethereum_and_not_sha_3() -> None:
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak_256(b"").hex() == empty
    two_blocks = keccak_256(b"a" * 200).hex()
    assert len(two_blocks) == 64
    assert two_blocks != keccak_256(b"a" * 199).hex()


@settings(max_examples=150)
@given(st.text(max_size=60) | st.text("0123456789abcdefxX.:-[]²٣ /@", max_size=24))
def test_no_judge_fails_on_any_text(value: str) -> None:
    assert all(judge(value) in (True, False) for judge in _JUDGES.values())
