"""BODY-04, BODY-05, G-04: two readers of an accepted body see the same thing."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxies import strict_json
from proxies.strict_json import MAX_DEPTH, MAX_FAST_BYTES, JSONRefused, dump, parse, refuse_case_variants

REFUSED = {
    "BODY_04_duplicate": (b'{"method":"tools/list","method":"tools/call"}', "'method' appears twice"),
    "BODY_04_duplicate_nested": (b'{"params":{"name":"ok","name":"bad"}}', "'name' appears twice"),
    "BODY_04_duplicate_in_list": (b'[[{"x":1,"y":2,"x":3}]]', "'x' appears twice"),
    "BODY_04_escaped_duplicate": (b'{"na\\u006de":"x","name":"y"}', "'name' appears twice"),
    "BODY_04_case_variant": (b'{"params":{"name":"ok","Name":"bad"}}', "'name' in two ways"),
    "BODY_05_nan": (b'{"a":NaN}', "NaN"),
    "BODY_05_infinity": (b'{"a":-Infinity}', "Infinity"),
    "BODY_05_overflow": (b'{"a":1e400}', "beyond the range"),
    "BODY_05_digits": (b'{"a":' + b"1" * 5000 + b"}", "too many digits"),
    "BODY_05_surrogate": (b'{"a":"\\ud800"}', "lone surrogate"),
    "BODY_05_surrogate_key": (b'{"\\uDC00":1}', "lone surrogate"),
    "BODY_05_bom": (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
    "BODY_05_trailing": (b'{"a":1}{"b":2}', "Extra data"),
    "BODY_05_depth": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 64"),
    "BODY_05_depth_100k": (b"[" * 100_000, "deeper than 64"),
    "BODY_05_depth_objects": (b'{"a":' * 70 + b"1" + b"}" * 70, "deeper than 64"),
    "BODY_06_utf16": ('{"a":1}'.encode("utf-16"), "not valid UTF-8"),
    "BODY_06_overlong": (b'{"a":"\xc0\xaf"}', "not valid UTF-8"),
    "empty": (b"", "not valid JSON"),
    "control": (b'{"a":"\n"}', "not valid JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(JSONRefused) as caught:
        parse(data)
    assert reason in str(caught.value)


def test_a_different_case_is_fine_where_no_protocol_key_is_meant() -> None:
    assert parse(b'{"Point":{"x":1,"X":2},"inputSchema":{},"Name":"only one spelling"}') == {
        "Point": {"x": 1, "X": 2},
        "inputSchema": {},
        "Name": "only one spelling",
    }


def test_depth_counts_nesting_and_not_brackets() -> None:
    wide = [{"a": [index]} for index in range(500)]
    assert parse(dump(wide)) == wide
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dump(parse(deepest)) == deepest


def test_G_04_integers_beyond_a_double_are_exact() -> None:
    data = b'{"a":9007199254740993,"b":-123456789012345678901234567890,"c":0.1}'
    assert dump(parse(data)) == data


def test_paired_surrogate_escapes_are_one_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_refuse_case_variants_names_the_key() -> None:
    refuse_case_variants({"method": 1, "other": 2}, {"method"})
    with pytest.raises(JSONRefused, match="second spelling of 'method'"):
        refuse_case_variants({"Method": 1}, {"method"})


def test_BODY_05_a_hostile_megabyte_does_not_hold_the_loop_for_long() -> None:
    # A million brackets once cost quadratic time in a recursive depth check; the bound here is generous.
    started_at = time.process_time()
    with pytest.raises(JSONRefused):
        parse(b"[" * 1_000_000)
    assert time.process_time() - started_at < 5


def test_LIM_15_a_large_text_is_read_by_the_parser_that_lets_others_in_between(monkeypatch) -> None:
    value = {"values": [{"id": number} for number in range(MAX_FAST_BYTES // 8)]}
    monkeypatch.setattr(strict_json, "_decoder", None)
    assert parse(dump(value)) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_was_inspected_is_what_is_sent(value: object) -> None:
    try:
        parsed = parse(json.dumps(value).encode())
    except JSONRefused:
        return
    assert parsed == value
    assert json.loads(dump(parsed)) == value
    assert parse(dump(parsed)) == parsed


class Pairs(list[tuple[str, object]]):
    """An object as it stands in a text, where a key may come twice."""


odd_keys = st.text(st.sampled_from('ab":\\ \n{}[],'), max_size=3)
blanks = st.sampled_from(["", "", " ", "\n ", "\t", "\r"])
texts_of_values = st.recursive(
    st.integers(0, 9) | odd_keys,
    lambda children: st.lists(children, max_size=3) | st.lists(st.tuples(odd_keys, children), max_size=3).map(Pairs),
    max_leaves=12,
)


def written(value: object, blank: str) -> str:
    """The text of a value with these blanks around everything."""
    if isinstance(value, Pairs):
        members = [f"{blank}{json.dumps(key)}{blank}:{written(member, blank)}" for key, member in value]
        return f"{blank}{{{','.join(members)}{blank}}}{blank}"
    if isinstance(value, list):
        return f"{blank}[{','.join(written(member, blank) for member in value)}{blank}]{blank}"
    return f"{blank}{json.dumps(value)}{blank}"


def has_repeats(value: object) -> bool:
    """Whether an object in it has a key twice."""
    if isinstance(value, Pairs):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(has_repeats(member) for _, member in value)
    return isinstance(value, list) and any(has_repeats(member) for member in value)


@given(texts_of_values, blanks)
@example(Pairs([("a", '":'), ("a", 1)]), "")
@example(Pairs([("a", ["b", ":", '\\":']), ("c\\", 1), ("c\\", 2)]), " ")
@example([Pairs([('"', 1)]), Pairs([("x", 1), ("y :", 2), ("y :", 3)])], "\n ")
def test_BODY_04_a_repeated_key_is_seen_however_the_text_is_written(value: object, blank: str) -> None:
    data = written(value, blank).encode()
    if has_repeats(value):
        with pytest.raises(JSONRefused, match="twice"):
            parse(data)
    else:
        assert parse(data) == json.loads(data)
