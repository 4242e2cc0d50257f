"""A value is found whatever stands beside it: what is no value itself must not let its neighbour go."""

from __future__ import annotations

import pytest

from rules.model import Target, Text
from rules.packs import SHIPPED, load_directory
from tests.proxy_harness import shipped_ruleset

SECRET = "CErVpwkV6WWPaBnYbNBJzffzyCEVk01L"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("PII-CARD-001", "order 7712: card 4111111111111111"),
        ("PII-CARD-001", "4111 1111 1111 1111, invoice 90210"),
        ("PII-CARD-002", "order 7712: card 4111111111111111"),
        ("PII-SSN-001", "case 4423, 219-46-8123"),
        ("PII-EMAIL-001", "postgres://u:p4ss@db.corp.de/x bob.miller@corp-mail.de"),
        ("PII-EMAIL-001", "ssh root@h1 bob.miller@corp-mail.de"),
        ("PII-IP-001", "python 3.11.4 on 84.23.11.9"),
        ("PII-IP-001", "84.23.11.9 has kernel 6-rc"),
        ("PII-IP-003", "driver 1.2.3 on 192.168.7.9"),
        ("PII-PHONE-001", "sku of the part, call +49 30 12345678"),
        ("PII-PHONE-002", "Ticket 1234: (212) 664-7665"),
        ("PII-PHONE-003", "phone 030 12345678, invoice paid"),
        ("PII-PHONE-003", "2031-01-02 phone 030 1234567"),
        ("SEC-GENERIC-001", f"In settings.py: SECRET_KEY = '{SECRET}'"),
        ("SEC-GENERIC-001", f'api_key = "{SECRET}"  # not os.environ'),
        ("SEC-GENERIC-001", f"api_key: {SECRET}\nregion: get_region"),
        ("SEC-GENERIC-001", f"api_key: {SECRET}\nother: $OTHER_KEY"),
        ("SEC-PASSWORD-001", "my password is Tr0ub4dor&3x, see config.py"),
        ("SEC-ENV-001", f"vault:ours\nDEPLOY_TOKEN={SECRET}"),
    ],
)
def test_a_value_beside_something_else_is_found(rule: str, text: str) -> None:
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    assert rule in {finding.rule_id for finding in found}


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111111",
        "invoice no: 4111 1111 1111 1111",
        "case 219-46-8123",
        "version 84.23.11.9",
        "release 84.23.11.9-rc1",
        "postgres://u:p4ss@db.corp.de/x",
        "ssh deploy@web1.corp.de",
        "sku +49 30 12345678",
        "Ticket 212-664-7665",
        "invoice 030 12345678",
        "api_key = config.get_client_secret_value",
        "client_secret: process.env.VENDOR_CLIENT_SECRET",
        'x-api-key: "$VENDOR_SERVICE_API_KEY"',
        "encryption_key=DATABASE_ENCRYPTION_KEY",
        "DEPLOY_TOKEN=projects/one/secrets/deploy_token_2",
        "DEPLOY_TOKEN=vault:secret/data/deploy#token9",
    ],
)
def test_what_only_looks_like_a_value_is_none(text: str) -> None:
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    assert found == []


def test_what_makes_a_value_none_always_shares_text_with_it() -> None:
    """Nothing else may decide that a value is not masked: its sender does not choose what stands beside it."""
    rules = [rule for pack in load_directory(SHIPPED).values() for rule in pack.rules if rule.is_sensitive]
    assert any(rule.match.none for rule in rules)
    assert [rule.id for rule in rules if any(not absent.overlaps for absent in rule.match.none)] == []


KEY = "Zx81mQ0pLk27VbN4tR6y"


@pytest.mark.parametrize(
    "text",
    [
        f"My API key is {KEY}.",
        f"api key: {KEY}",
        f"the token is {KEY}",
        f"<api_key>{KEY}</api_key>",
        f"curl --api-key {KEY} https://x",
        f"{{api_key: {KEY}}}",
        f"| api_key | {KEY} |",
        f'client.setApiKey("{KEY}")',
        f'("api_key", "{KEY}")',
        f"api_key -> {KEY}",
        f"api_key\t{KEY}",
        f"https://h/x?token={KEY}",
        f"config['api_key'] = '{KEY}'",
        f"api_key: !secret {KEY}",
        f"api_key: >-\n  {KEY}",
        f'{{\\"api_key\\": \\"{KEY}\\"}}',
        f"api_key%3D{KEY}",
        "Password - Tr0ub4dor3x",
        "pw: Tr0ub4dor3x",
        "password (bob): Tr0ub4dor3x",
        "password[bob] = 'Tr0ub4dor3x'",
        "DB_PASS=Tr0ub4dor3x99",
        '{\\"password\\": \\"Tr0ub4dor3x\\"}',
        "<password>Tr0ub4dor&amp;3x</password>",
        "contraseña: Verano2031!",
        "La contraseña es Verano2031!",
        "пароль: Zima2031x",
        "パスワードはZima2031x。",
    ],
)
def test_a_secret_is_found_however_its_name_stands_before_it(text: str) -> None:
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    values = {text[one.value_start : one.value_end] for one in found if one.pack == "secrets"}
    assert any(value.rstrip(".!") in text and (KEY in value or "2031" in value or "3x" in value) for value in values)


@pytest.mark.parametrize("address", ["jürgen@münchen-web.de", "Łukasz.Żak@firma-x.pl", "José.Núñez@correo-x.es"])
def test_no_letter_of_an_address_is_left_over(address: str) -> None:
    text = f"Mail:{address}, thanks"
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    assert [text[one.value_start : one.value_end] for one in found] == [address]
