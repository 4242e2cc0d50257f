"""Evidence shows enough to understand and nothing that must stay secret."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.redact import MAX_EVIDENCE_CHARS, excerpt, mask, masked, masked_name, may_hold_opaque

SECRET = "hT7!kq0Zp2wQ"


@pytest.mark.parametrize(("value", "shown"), [("short", "…(5)"), ("12345678", "12…(8)"), (SECRET, "hT7!…(12)")])
def test_a_mask_shows_the_beginning_of_long_values_only(value: str, shown: str) -> None:
    assert mask(value) == shown


def test_the_excerpt_has_context_on_both_sides() -> None:
    text = "a" * 18 + " " + "b" * 18 + " " + "c" * 18 + " hit " + "d" * 18 + " " + "e" * 18 + " f" * 18
    start = text.index("hit")
    assert excerpt(text, start, start + 3, []) == text[start - 40 : start + 43]


def test_sensitive_spans_are_masked_also_where_they_overlap_or_reach_out_of_the_excerpt() -> None:
    text = f"key {SECRET} and"
    assert excerpt(text, 4, 16, [(4, 16), (8, 16), (20, 20)]) == "key hT7!…(12) and"
    long = "word " * 10 + "p" * 15 + " " * 30 + "hit"
    assert excerpt(long, 95, 98, [(40, 65), (0, 4)]) == "word…(25)" + " " * 30 + "hit"


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("see AKIAQ3EGRM5NAZT7W2LB now", "see AKIA…(20) now"),
        ("call 0049 30 1234567", "call 0049…(15)"),
        ("wellformedlowercaseword-only", "wellformedlowercaseword-only"),
    ],
)
def test_opaque_runs_are_masked_whatever_the_rules_say(text: str, evidence: str) -> None:
    assert excerpt(text, 0, 3, []) == evidence


def test_an_opaque_run_cut_by_the_excerpt_is_masked_as_well() -> None:
    text = "AKIAQ3EGRM5NAZT7W2LB" + " " * 25 + "hit"
    assert "NAZT7W2LB" not in excerpt(text, 45, 48, [])


def test_control_and_invisible_characters_are_escaped() -> None:
    assert excerpt("a\n\t\r\x00\u200b\U000e0041é", 0, 1, []) == "a\\n\\t\\r\\u0000\\u200b\\U000e0041é"


@given(text=st.text(max_size=400), start=st.integers(0, 400), size=st.integers(0, 400))
def test_an_excerpt_is_short_and_printable(text: str, start: int, size: int) -> None:
    evidence = excerpt(text, min(start, len(text)), min(start + size, len(text)), [])
    assert len(evidence) <= MAX_EVIDENCE_CHARS
    assert evidence.isprintable()


def test_a_masked_text_keeps_everything_else_and_knows_where_it_went() -> None:
    text = f"before {SECRET} between AKIAQ3EGRM5NAZT7W2LB after"
    clean = masked(text, [(7, 19)])
    assert clean.text == "before hT7!…(12) between AKIA…(20) after"
    assert [clean.place(0), clean.place(7), clean.place(12), clean.place(19)] == [0, 7, 7, 16]
    assert [clean.place(7, is_end=True), clean.place(12, is_end=True), clean.place(19, is_end=True)] == [7, 16, 16]
    assert clean.text[clean.place(text.index("between")) :].startswith("between")
    assert clean.place(len(text)) == clean.place(len(text) + 99) == len(clean.text)


def test_a_masked_part_shows_no_end_of_a_value_that_the_cut_divides() -> None:
    text = f"password {SECRET} and so on"
    assert masked(text, [(9, 21)], 0, 15).text == "password hT7!…(12)"
    assert masked(text, [(9, 21)], 15, 25).text == "hT7!…(12) and"
    assert masked(text, [], 3, 8) == ("sword", 3, [])


@given(st.text(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4))
def test_every_clear_character_of_a_masked_text_is_where_place_says(text: str, spans: list[tuple[int, int]]) -> None:
    clean = masked(text, [(start, min(end, len(text))) for start, end in spans])
    hidden = {index for left, right, _, _ in clean.masks for index in range(left, right)}
    for start, end in spans:
        assert hidden >= set(range(start, min(end, len(text))))
    for index in range(len(text)):
        if index not in hidden:
            assert clean.text[clean.place(index)] == text[index]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("letters", ["y", "a-"])
def test_a_long_run_without_digits_is_read_in_linear_time(letters: str) -> None:
    text = letters * 200_000
    assert masked(text, []).text == text


@given(st.text(alphabet="a1-. ٣é", max_size=120), st.text(alphabet="a1-. ", max_size=40))
def test_runs_of_token_characters_and_of_digits_are_hidden_wherever_they_stand(text: str, more: str) -> None:
    text = text + more * 2
    clean = masked(text, [])
    hidden = {index for left, right, _, _ in clean.masks for index in range(left, right)}
    tokens = re.finditer(r"[A-Za-z0-9+/=_.~-]{20,}", text)
    runs = [match.span() for match in tokens if match[0][0].isdigit() or {"a", "1"} <= set(match[0])]
    runs += [match.span() for match in re.finditer(r"\d(?:[ -]?\d){8,}", text)]
    assert hidden == {index for start, end in runs for index in range(start, end)}


@given(st.lists(st.text("ab19Ü -.\n٣", max_size=60), max_size=4))
def test_texts_that_can_hold_no_opaque_run_are_left_as_they_are(texts: list[str]) -> None:
    if not may_hold_opaque(texts):
        assert [masked(text, ()).text for text in texts] == texts


def test_the_quick_no_looks_at_all_texts_and_at_none_across_its_end() -> None:
    assert not may_hold_opaque([])
    assert not may_hold_opaque(["Plain words, and 2025.", "a" * 19, "b" * 19])
    assert may_hold_opaque(["Plain words.", "AKIAQ3EGRM5NAZT7W2LB"])
    assert may_hold_opaque(["call 0049 30 1234567"])


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-2024-08-06",
        "claude-sonnet-4-5-20250929",
        "ft:gpt-4o-mini-2024-07-18:acme::9aBcDeFg",
        "tools/call getUserProfileInformationV2",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo",
        "Denied: No rule allows this call (rule default-action, policy internationalizationpolicies)",
        "",
    ],
)
def test_AG_SH_4_names_stay_as_they_are(name: str) -> None:
    assert masked_name(name) == name


def test_AG_SH_4_what_could_be_a_credential_among_names_is_masked() -> None:
    key = "AKIA" + "Q7ZM2N4P6R5T3V6K"
    assert masked_name(f"curl/8.5.0 key={key}") == "curl/8.5.0 key=AKIA…(20)"
    assert masked_name("/v1/things/68af4030592c81938ec0a5fbab4a3e9f") == "/v1/things/68af…(32)"
