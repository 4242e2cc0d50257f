"""Placeholders and the session that makes them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.masking.placeholders import GRAMMAR, MAX_CHARACTERS, make_placeholder, one_way, session_key
from rules.masking.session import MAX_VALUES, MaskingFull, MaskingSession
from rules.masking.spans import FEW_VALUES, RepeatedValues, Span, literal_spans, masking_into, replace_spans, settle
from rules.masking.unmask import unmask

KEY = session_key(b"master", "key_1", "prx_1", "conversation")
labels = st.from_regex(r"[A-Z][A-Z0-9_]{1,23}", fullmatch=True)


def span(start: int, end: int, label: str = "EMAIL", *, reversible: bool = True, score: int = 0) -> Span:
    return Span(start, end, label, reversible, "R-1", score)


@given(labels, st.text())
def test_RED_PH_1_a_placeholder_survives_json_html_urls_and_markdown(label: str, value: str) -> None:
    placeholder = make_placeholder(KEY, label, value)

    assert GRAMMAR.fullmatch(placeholder)
    assert placeholder.isascii()
    assert len(placeholder) <= MAX_CHARACTERS
    assert json.dumps(placeholder)[1:-1] == placeholder
    assert set(placeholder[1:-1]).isdisjoint("<>&\"'\\*` \n")


@given(st.lists(st.tuples(labels, st.text()), unique=True, max_size=30))
def test_RED_PH_1_the_placeholders_of_a_session_are_free_of_prefixes(values: list[tuple[str, str]]) -> None:
    session = MaskingSession(KEY)
    made = [session.mask(label, value) for label, value in values]

    assert len(set(made)) == len(values)
    assert not any(one != other and other.startswith(one) for one in made for other in made)


def test_RED_PH_2_a_placeholder_cannot_be_guessed_from_another_session() -> None:
    keys = [session_key(b"master", *scope) for scope in [("a", "b"), ("ab", ""), ("a", "b", ""), ("A", "b")]]
    keys.append(session_key(b"other master", "a", "b"))

    assert len({make_placeholder(key, "EMAIL", "joe@example.com") for key in keys}) == len(keys)


def test_RED_PH_2_an_input_that_looks_like_a_placeholder_is_masked_as_a_literal_and_comes_back() -> None:
    session = MaskingSession(KEY)
    email = session.mask("EMAIL", "joe@example.com")
    text = f"I typed {email}, {email.lower()[1:-1]} and [PHONE_aaaaaaaa]."

    masked = replace_spans(text, settle(literal_spans(text, session)), masking_into(session))

    assert email not in masked
    assert "[PHONE_aaaaaaaa]" not in masked
    assert masked.count("[LITERAL_") == 3
    assert unmask(session, masked) == text


@given(st.text(min_size=1))
def test_RED_PH_3_the_same_value_has_the_same_placeholder_in_every_session_with_the_key(value: str) -> None:
    first, second = MaskingSession(KEY), MaskingSession(KEY)
    second.mask("PHONE", "another value first")

    assert first.mask("EMAIL", value) == first.mask("EMAIL", value) == second.mask("EMAIL", value)
    assert first.mask("EMAIL", value) != first.mask("NAME", value)
    assert len(first) == 2


def test_RED_PH_4_a_session_is_bounded_and_does_not_show_values() -> None:
    session = MaskingSession(KEY)
    for number in range(MAX_VALUES):
        session.mask("NUMBER", f"value {number}")

    assert session.mask("NUMBER", "value 7")
    with pytest.raises(MaskingFull):
        session.mask("NUMBER", "one more")
    assert "value" not in repr(session)
    with pytest.raises(MaskingFull):
        MaskingSession(KEY).mask("TEXT", "x" * 5_000_000)


def test_RED_PH_4_a_value_of_a_one_way_type_is_never_in_the_map() -> None:
    session = MaskingSession(KEY)
    text = "AKIA1234 and joe@example.com"
    spans = [span(0, 8, "AWS_SECRET", reversible=False), span(13, 28)]

    masked = replace_spans(text, spans, masking_into(session))

    assert masked.startswith("[REDACTED_AWS_SECRET] and [EMAIL_")
    assert [value.value for value in session.values()] == ["joe@example.com"]
    assert unmask(session, masked) == "[REDACTED_AWS_SECRET] and joe@example.com"
    assert one_way("PASSWORD") == "[REDACTED_PASSWORD]"


def test_two_values_that_meet_in_one_suffix_get_different_placeholders(monkeypatch: pytest.MonkeyPatch) -> None:
    def collide(key: bytes, label: str, value: str, attempt: int = 0) -> str:
        return make_placeholder(key, label, "same", attempt)

    monkeypatch.setattr("rules.masking.session.make_placeholder", collide)
    session = MaskingSession(KEY)

    first, second = session.mask("EMAIL", "a@example.com"), session.mask("EMAIL", "b@example.com")

    assert first != second
    assert unmask(session, f"{second} {first}") == "b@example.com a@example.com"


def test_a_label_outside_the_grammar_is_refused() -> None:
    with pytest.raises(ValueError, match="type word"):
        make_placeholder(KEY, "e-mail", "x")


def test_RED_STR_12_overlapping_spans_become_one_and_no_end_is_left_over() -> None:
    merged = settle([span(0, 10, "LONG", score=1), span(8, 14, "SHORT", score=9), span(20, 22), span(21, 21)])

    assert [(one.start, one.end, one.label) for one in merged] == [(0, 14, "LONG"), (20, 22, "EMAIL")]


def test_RED_STR_12_of_equally_long_spans_the_higher_score_names_the_type_and_one_way_wins() -> None:
    (one,) = settle([span(0, 5, "PHONE", score=10), span(0, 5, "SSN", reversible=False, score=50)])

    assert (one.label, one.reversible) == ("SSN", False)


def test_RED_STR_12_offsets_are_those_of_the_original_text() -> None:
    session = MaskingSession(KEY)
    text = "joe@example.com wrote to ann@example.com and joe@example.com"
    spans = [span(45, 60), span(0, 15), span(25, 40)]

    masked = replace_spans(text, settle(spans), masking_into(session))

    assert "example" not in masked
    assert masked[:16] == masked[-16:]
    assert unmask(session, masked) == text


def test_threads_that_share_a_session_mask_a_value_alike() -> None:
    session = MaskingSession(KEY)
    values = [f"mail{number}@example.com" for number in range(300)]

    def work(_thread: int) -> list[str]:
        made = [session.mask("EMAIL", value) for value in values]
        assert len(list(session.values())) == len(values)
        return made

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(work, range(4)))

    assert all(one == made[0] for one in made)
    assert len(set(made[0])) == len(session) == len(values)


def test_a_value_is_found_again_where_it_is_not_part_of_a_word() -> None:
    values = ["joe@example.com", "12345", "secret-1", "secret-12-34", "+49 30 1", "_under"]
    repeated = RepeatedValues({value: span(0, 0, value) for value in values})
    text = "joe@example.com, xjoe@example.com, secret-12 secret-1, 12345 secret-12-34 a+49 30 1 +49 30 12 x_under"

    found = repeated.spans(text)

    assert [text[one.start : one.end] for one in found] == [
        "joe@example.com",
        "secret-1",
        "secret-12-34",
        "+49 30 1",
        "_under",
    ]
    assert RepeatedValues({"short": span(0, 0)}).spans("short short") == []


def test_a_value_at_the_end_of_a_text_is_not_taken_for_a_longer_one_that_begins_alike() -> None:
    repeated = RepeatedValues({value: span(0, 0, value) for value in ("ann@mail1", "ann@mail10.example")})
    text = "write to ann@mail1"
    assert [(found.start, found.end, found.label) for found in repeated.spans(text)] == [(9, len(text), "ann@mail1")]


def test_ten_thousand_values_are_looked_for_in_one_pass() -> None:
    values = [f"mail{number}@example.com" for number in range(10_000)]
    repeated = RepeatedValues({value: span(0, 0) for value in values})
    assert len(repeated.spans(" ".join(values))) == len(values)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.text("ab1 _-é", min_size=6, max_size=9), min_size=1, max_size=12, unique=True),
    text=st.text("ab1 _-é", max_size=120),
    places=st.lists(st.integers(0, 11), max_size=6),
)
def test_few_values_and_many_are_found_in_the_same_places(values: list[str], text: str, places: list[int]) -> None:
    text += "".join(values[place % len(values)] + "-" * (place % 2) for place in places)
    few = RepeatedValues({value: span(0, 0, value) for value in values})
    fillers = {f"filler{number:03}x": span(0, 0) for number in range(FEW_VALUES)}
    many = RepeatedValues({**{value: span(0, 0, value) for value in values}, **fillers})

    assert few.spans(text) == many.spans(text)
