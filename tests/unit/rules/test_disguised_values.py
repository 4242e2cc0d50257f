"""A value to mask is found in every disguise that a view undoes, and its place is exactly that of what stands for it."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from rules.model import Target, Text
from tests.proxy_harness import shipped_ruleset

VALUES = {
    "PII-EMAIL-001": "zoe.ohara@corp-mail.com",
    "PII-CARD-001": "4012888888881881",
    "PII-IBAN-001": "DE89370400440532013000",
    "PII-IP-001": "203.0.113.77",
    "PII-SSN-001": "219-09-9998",
    "SEC-AWS-001": "AKIA" + "Q3EGRM5NAZT7W2LB",
}
DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda value: value,
    "zero-width spaces": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "lines below": lambda value: "".join(f"{char}\u0332" for char in value),
    "full-width": lambda value: "".join(chr(ord(char) + 0xFEE0) for char in value),
    "percent": lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    "entities": lambda value: "".join(f"&#{ord(char)};" for char in value),
    "escapes": lambda value: "".join(f"\\u{ord(char):04x}" for char in value),
    "base64": lambda value: base64.b64encode(f"value: {value} and so on".encode()).decode(),
    "hexadecimal": lambda value: f"value: {value} and so on".encode().hex(),
    "mathematical digits": lambda value: value.translate(str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")),
    "Arabic digits": lambda value: value.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    "tags": lambda value: "".join(chr(0xE0000 + ord(char)) for char in value),
}


@pytest.mark.parametrize("rule_id", VALUES)
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("before", ["Send it to ", "żółć 😀 日本 "])
def test_a_value_in_disguise_is_found_in_its_place(rule_id: str, disguise: str, before: str) -> None:
    hidden = DISGUISES[disguise](VALUES[rule_id])
    text = Text(Target.PROMPT, "", f"{before}{hidden}, ok 🙂")
    found = shipped_ruleset().scan([text], direction="request")
    places = {finding.rule_id: (finding.value_start, finding.value_end) for finding in found}
    assert places.get(rule_id) == (len(before), len(before) + len(hidden))
