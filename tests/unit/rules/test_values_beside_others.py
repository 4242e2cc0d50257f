"""A value is found whatever stands beside it: what is no value itself must not let its neighbour go."""

from __future__ import annotations

import base64

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


CARD, AMEX, IBAN = "4111111111111111", "378282246310005", "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # A number beside the number.
        ("amount 5000 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("2031-01-02 4111-1111-1111-1111", "4111-1111-1111-1111"),
        (f"{AMEX} 12/29 123", AMEX),
        ("3782 822463 10005 123", "3782 822463 10005"),
        ("SSN: 219 46 8123 1990-02-03", "219 46 8123"),
        # What separates the groups.
        ("4111  1111  1111  1111", "4111  1111  1111  1111"),
        ("4111_1111_1111_1111", "4111_1111_1111_1111"),
        ("4111/1111/1111/1111", "4111/1111/1111/1111"),
        ("4111–1111–1111–1111", "4111–1111–1111–1111"),
        ("4111 1111\n1111 1111", "4111 1111\n1111 1111"),
        ("+49–30–12345678", "+49–30–12345678"),
        # Escaped line breaks, names of files, markup, a line of a diff.
        (f"card:\\n{CARD}\\n", CARD),
        ("seen\\n84.23.11.9\\n", "84.23.11.9"),
        (f"scan_{CARD}.pdf", CARD),
        ("__219-46-8123__", "219-46-8123"),
        (f"+{CARD},bob", CARD),
        ("inet6 addr:2a01:4f8:1c0c:4a1f::1", "2a01:4f8:1c0c:4a1f::1"),
        ("HWaddr:00:1A:2B:3C:4D:5E", "00:1A:2B:3C:4D:5E"),
        ("mac:001a.2b3c.4d5e", "001a.2b3c.4d5e"),
        # Names of fields.
        ('"peselNumber": "44051401359"', "44051401359"),
        ("user_cpf: 52998224725", "52998224725"),
        ("userOib: 69435151530", "69435151530"),
        ("nhs_number=9434765919", "9434765919"),
        ("bsnNo=111222333", "111222333"),
        ('"dateOfBirth": "1990-04-02"', "1990-04-02"),
        ("| DOB | 02/04/1990 |", "02/04/1990"),
        ("Geburtstag: 2. April 1990", "2. April 1990"),
        ("生年月日：1990/04/02", "1990/04/02"),
        ("passport_number: C01X00T47", "C01X00T47"),
        ("drivers_license: S530-4609-8765", "S530-4609-8765"),
        ('"accountNumber": "000123456789"', "000123456789"),
        ('"patientId":"12345678"', "12345678"),
        ("ni_number=ab123456c", "ab123456c"),
        # Secrets.
        (f"\\n{'ghp'}_16C7e42F292c6912E7710c838347Ae178B4a\\n", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        (f"\x1b[32m{'ghp'}_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        (f"api key {KEY}", KEY),
        (f"**API Key:** `{KEY}`", KEY),
        (f"API key:\n```\n{KEY}\n```", KEY),
        (f"- name: API_KEY\n  value: {KEY}", KEY),
        (f'<add key="ApiKey" value="{KEY}"/>', KEY),
        (f"const apiKey: string = '{KEY}';", KEY),
        (f'api_key=SecretStr("{KEY}")', KEY),
        (f"Cookie: JSESSIONID={KEY}", KEY),
        (f"STRIPE_KEY={KEY}", KEY),
        (f"clé API : {KEY}", KEY),
        ("api_key=9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d659a2feaa0c55ad015"),
        ("user=bob&password=Tr0ub4dor3x&x=1", "Tr0ub4dor3x"),
        ("**Password:** Tr0ub4dor3x", "Tr0ub4dor3x"),
        ("| Password | Tr0ub4dor3x |", "Tr0ub4dor3x"),
        ('password="Tr0ub,4dor(3x)"', "Tr0ub,4dor(3x)"),
        ('dbPassword = "Tr0ub4dor3x"', "Tr0ub4dor3x"),
        ("CREATE USER u IDENTIFIED BY 'Tr0ub4dor3x'", "Tr0ub4dor3x"),
        ("- name: DB_PASSWORD\n  value: Tr0ub4dor3x", "Tr0ub4dor3x"),
        ("auth=('bob', 'Tr0ub4dor3x')", "Tr0ub4dor3x"),
        ("redis://:Tr0ub4dor3x@h:6379/0", "Tr0ub4dor3x"),
        ("postgres://u:p@ssw0rd9@db/x", "p@ssw0rd9"),
    ],
)
def test_a_value_is_found_whole_in_every_ordinary_writing(text: str, value: str) -> None:
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    assert any(value in text[one.value_start : one.value_end] for one in found)


@pytest.mark.parametrize("before", ["", "    ", "> ", "+", "-", "# ", "  | "])
def test_a_long_private_key_is_found_to_its_last_line_and_no_further(before: str) -> None:
    body = base64.b64encode(bytes((n * 73 + n * n) % 256 for n in range(1200))).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    kind = "PRIVATE KEY"
    whole = [f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", "What kind of key is this?"]
    text = "\n".join(before + line for line in whole)
    found = shipped_ruleset(("pii", "secrets")).scan([Text(Target.PROMPT, "/p", text)], direction="request")
    value = next(text[one.value_start : one.value_end] for one in found if one.rule_id == "SEC-PEM-001")
    assert lines[0] in value
    assert lines[-1] in value
    assert "What kind" not in value
