"""Strings inside a JSON text in pieces (bug 13 of the requirements)."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.masking.json_strings import JSONStrings
from rules.masking.session import MaskingSession
from rules.masking.unmask import Unmasker, unmask

VALUE = 'a"b\\c\nd é 🙂'
SESSION = MaskingSession(b"k" * 32)
PLACEHOLDER = SESSION.mask("NOTE", VALUE)


def in_pieces(pieces: list[str]) -> str:
    strings = JSONStrings(lambda: Unmasker(SESSION), lambda: Unmasker(SESSION))
    return "".join([*map(strings.feed, pieces), strings.close()])


def cut(text: str, seed: int) -> list[str]:
    source = random.Random(seed)
    pieces = []
    while text:
        size = source.choice([1, 1, 2, 3, 9])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def restored(value: Any) -> Any:
    if isinstance(value, str):
        return unmask(SESSION, value)
    if isinstance(value, list):
        return [restored(member) for member in value]
    if isinstance(value, dict):
        return {restored(key): restored(member) for key, member in value.items()}
    return value


strings = st.lists(
    st.one_of(
        st.sampled_from([PLACEHOLDER, PLACEHOLDER[:5], "\\", '"', "/", "\n", "é", "🙂", " "]), st.text(max_size=4)
    ),
    max_size=5,
).map("".join)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), strings),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(strings, inner, max_size=3)),
    max_leaves=8,
)


def check(value: Any, seed: int, *, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    expected = restored(value)
    for pieces in (cut(text, seed), list(text), [text]):
        assert json.loads(in_pieces(pieces)) == expected
    if "_" not in text:
        assert in_pieces(list(text)) == text


@given(values, st.integers(0, 2**32), st.booleans())
@settings(max_examples=200)
def test_RED_STR_6_the_strings_of_arguments_do_not_depend_on_the_pieces(
    value: Any, seed: int, ascii_only: bool
) -> None:
    check(value, seed, ascii_only=ascii_only)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@given(values, st.integers(0, 2**32), st.booleans())
@settings(max_examples=10_000)
def test_RED_STR_6_the_strings_of_arguments_do_not_depend_on_the_pieces_at_length(
    value: Any, seed: int, ascii_only: bool
) -> None:
    check(value, seed, ascii_only=ascii_only)


def test_bug_13_escapes_are_put_together_over_pieces() -> None:
    escaped = "".join(f"\\u{ord(char):04x}" for char in PLACEHOLDER)

    out = in_pieces(list(f'{{"to": "{escaped}", "smile": "\\ud83d\\ude42"}}'))

    assert json.loads(out) == {"to": VALUE, "smile": "🙂"}
    # What was not changed keeps its spelling.
    assert out.endswith('"smile": "\\ud83d\\ude42"}')


def test_bug_13_invalid_escapes_pass_as_they_are() -> None:
    text = r'{"path": "C:\Home \ud83d alone \u12 \x"}'

    assert in_pieces(list(text)) == text


def test_a_value_with_quotes_and_line_ends_gives_valid_json() -> None:
    assert json.loads(in_pieces([f'{{"note":"<{PLACEHOLDER}>"}}'])) == {"note": f"<{VALUE}>"}


def test_a_match_does_not_cross_the_end_of_a_string() -> None:
    text = json.dumps([PLACEHOLDER[:6], PLACEHOLDER[6:]])

    assert in_pieces(list(text)) == text


def test_what_is_not_json_is_transformed_as_text() -> None:
    strings = JSONStrings(lambda: Unmasker(SESSION), lambda: Unmasker(SESSION))

    out = "".join([*map(strings.feed, f'[1, "{PLACEHOLDER}"] print({PLACEHOLDER})'), strings.close()])

    assert out == f"[1, {json.dumps(VALUE, ensure_ascii=False)}] print({VALUE})"
    assert not strings.is_json


def test_a_text_that_ends_within_a_string_is_given_out() -> None:
    assert in_pieces(list(f'{{"a": "{PLACEHOLDER[:6]}')) == f'{{"a": "{PLACEHOLDER[:6]}'
    assert in_pieces(list('{"a": "\\u12')) == '{"a": "\\u12'
