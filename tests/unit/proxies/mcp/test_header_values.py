"""Values of mirrored headers (M-04)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.mcp.header_values import decode_value, encode_value


@pytest.mark.parametrize("value", ["lookup_order", "a b", "", "=?BASE64?eA==?=", "=?base64?=", "test://x?y=1"])
def test_M_04_plain_values_are_taken_as_they_are(value: str) -> None:
    assert decode_value(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?eA?=",
        "=?base64?eB==?=",
        "=?base64?e A==?=",
        "=?base64?/w==?=",
        "=?base64?eA==\n?=",
        "=?base64?x?=",
        "caf\xe9",
        "tab\there",
        "\x7f",
    ],
    ids=["no padding", "not canonical", "blank", "not UTF-8", "newline", "not base64", "latin-1", "tab", "DEL"],
)
def test_M_04_malformed_values_have_no_meaning(value: str) -> None:
    assert decode_value(value) is None


@pytest.mark.parametrize("text", ["Zürich", " padded ", "line\nbreak", "=?base64?x?=", "\x00", "日本"])
def test_M_04_what_would_not_survive_a_header_is_encoded(text: str) -> None:
    encoded = encode_value(text)
    assert encoded.startswith("=?base64?")
    assert encoded.isascii()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_M_04_encoding_and_decoding_are_inverse(text: str) -> None:
    assert decode_value(encode_value(text)) == text
