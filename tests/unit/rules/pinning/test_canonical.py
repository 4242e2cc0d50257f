"""Canonical JSON against the vectors of RFC 8785 and against any value."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.pinning.canonical import MAX_DEPTH, NotCanonical, canonical_json, hash_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_T_02_numbers_are_written_as_rfc_8785_appendix_b_says(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value).decode() == text


def test_T_02_the_example_of_rfc_8785() -> None:
    text = r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(json.loads(text)).decode() == expected


def test_T_02_keys_are_ordered_by_utf_16_code_units() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonical_json(value)).values()) == [2, 4, 6, 7, 1, 5, 3]


@settings(max_examples=150)
@given(JSON)
def test_T_02_every_value_reads_back_and_its_form_is_stable(value: Any) -> None:
    form = canonical_json(value)
    again = json.loads(form)
    assert again == value
    assert canonical_json(again) == form


@settings(max_examples=100)
@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=5))
def test_T_02_the_order_of_keys_does_not_count(value: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@settings(max_examples=100)
@given(JSON, JSON)
def test_T_02_different_values_have_different_hashes(one: Any, other: Any) -> None:
    same = hash_json(one) == hash_json(other)
    assert same == (one == other and _types(one) == _types(other))


def _types(value: Any) -> Any:
    """The value with what Python takes for equal and JSON does not told apart."""
    if isinstance(value, dict):
        return {key: _types(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_types(member) for member in value]
    return (isinstance(value, bool), value)


def test_T_02_integers_that_no_double_holds_keep_their_digits() -> None:
    assert canonical_json(2**63 - 1) == b"9223372036854775807"
    assert canonical_json(10**310) == b"1" + b"0" * 310
    assert hash_json(43347197727968288) != hash_json(43347197727968290)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, {1: 2}, (1,), b"x", 1 << 5000],
    ids=["nan", "infinity", "lone surrogate", "surrogate key", "number as key", "tuple", "bytes", "huge"],
)
def test_T_02_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_T_02_depth_and_size_are_bounded() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for value in (deep, [0] * 500_000):
        with pytest.raises(NotCanonical):
            canonical_json(value)
