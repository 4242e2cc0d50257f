"""Redaction of a text in pieces: what the stream gives is what the whole text gives."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules.engine import Ruleset
from rules.masking.pending import MAX_HELD_BYTES, Pending, unfinished
from rules.masking.redact import MAX_HELD_CHARACTERS, HeldTooLong, Redactor
from rules.masking.session import MaskingSession
from rules.masking.spans import Span, for_good, replace_spans, without_placeholders
from rules.model import Finding, Target, Text
from rules.patterns import key_of, regexp
from tests.unit.rules.small_packs import pack, rule, ruleset

SESSION = MaskingSession(b"k" * 32)
PLACEHOLDER = SESSION.mask("EMAIL", "masked@example.com")


def redacting(rule_id: str, *patterns: str, flags: str = "", **fields: object) -> dict[str, object]:
    match = fields.pop("match", None) or {"any": [{"re": pattern, "flags": flags} for pattern in patterns]}
    return rule(rule_id, match, ("a", "b"), category="pii/any", action="redact", **fields)  # type: ignore[arg-type]


RULES = ruleset(
    pack(
        "masking",
        redacting("T-EMAIL", r"\b[A-Za-z0-9._-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"),
        redacting("T-SSN", r"\b\d{3}-\d{2}-\d{4}\b"),
        redacting("T-CARD", r"\b(?:\d[ -]?){13,16}\b", validators=["luhn"]),
        redacting("T-KEY", r"(?:key|token)\s{0,3}[:=]\s{0,3}([A-Za-z0-9@.]{8,40})", flags="i", capture={"group": 1}),
        redacting("T-ID", match={"any": [{"re": r"\b[A-Z]{2}\d{6}\b"}], "near": [{"re": "passport", "within": 60}]}),
        redacting("T-NAME", r"\b(?:Mr|Mrs) [A-Z][a-zäöü]{1,20}\b"),
    )
)

REDACTING = frozenset({"T-EMAIL", "T-SSN", "T-CARD", "T-KEY", "T-ID", "T-NAME"})


def span_of(finding: Finding) -> Span:
    return Span(finding.value_start, finding.value_end, finding.label, False, finding.rule_id, finding.score)


def whole(rules: Ruleset, text: str, session: MaskingSession | None = SESSION) -> str:
    found = rules.scan([Text(Target.COMPLETION, "", text)], direction="response")
    return replace_spans(text, without_placeholders(text, map(span_of, found), session), for_good)


def in_pieces(rules: Ruleset, pieces: list[str], session: MaskingSession | None = SESSION) -> str:
    redactor = Redactor(rules.unfinished(REDACTING, Target.COMPLETION), for_good, session)
    scan = rules.stream(Target.COMPLETION, "")
    out = []
    for piece in pieces:
        found = scan.feed(piece)
        out.append(redactor.feed(piece, map(span_of, found), scan.undecided_from(REDACTING)))
    out.append(redactor.close(map(span_of, scan.close())))
    assert redactor.missed == 0
    return "".join(out)


def cut(text: str, seed: int) -> list[str]:
    source = random.Random(seed)
    pieces = []
    while text:
        size = source.choice([1, 1, 2, 3, 8, 40])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


FRAGMENTS = [
    "joe@example.com",
    "-joe@ex.com",
    "123-45-6789",
    "4111 1111 1111 1111",
    "4111-1111-1111-1112",
    "key=",
    "Token : ",
    "abcd@abcd.123ex45",
    "AB123456",
    "passport",
    "Mr Müller",
    "Mrs ",
    "Jörg",
    PLACEHOLDER,
    PLACEHOLDER[:7],
    "[",
    "@",
    ".",
    "-",
    "1",
    " ",
    "é",
    "日本語",
    "🙂",
    "\n",
    "x" * 30,
]
texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=12).map("".join)


def check(text: str, seed: int) -> None:
    expected = whole(RULES, text)
    assert in_pieces(RULES, cut(text, seed)) == expected
    assert in_pieces(RULES, list(text)) == expected


@given(texts, st.integers(0, 2**32))
@example("-joe@ex.com123-45-6789@joe@ex.com", 1)
@example("key=abcd@abcd.123ex45123b.cex123-45-6789", 1)
@example("joe@example.com.4111-1111-1111-1112.joe@example.com", 1)
@settings(max_examples=200)
def test_BODY_09_redaction_does_not_depend_on_the_pieces(text: str, seed: int) -> None:
    check(text, seed)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@given(texts, st.integers(0, 2**32))
@settings(max_examples=20_000)
def test_BODY_09_redaction_does_not_depend_on_the_pieces_at_length(text: str, seed: int) -> None:
    check(text, seed)


def test_AG_PE_8_a_value_in_pieces_is_replaced_whole() -> None:
    text = "Write to joe@example.com or call, card 4111 1111 1111 1111."

    assert whole(RULES, text) == "Write to [REDACTED_ANY] or call, card [REDACTED_ANY]."
    assert in_pieces(RULES, list(text)) == whole(RULES, text)


def test_only_the_captured_value_is_replaced() -> None:
    assert whole(RULES, "the key: abcdefgh12, then") == "the key: [REDACTED_ANY], then"


def test_a_value_waits_for_the_words_that_decide_about_it() -> None:
    text = "AB123456 " + "is the number " * 3 + "of the passport"

    assert in_pieces(RULES, list(text)) == text.replace("AB123456", "[REDACTED_ANY]")
    assert in_pieces(RULES, list("AB123456 " + "is nothing " * 12)) == "AB123456 " + "is nothing " * 12


def test_ordinary_prose_is_hardly_held() -> None:
    redactor = Redactor(RULES.unfinished(REDACTING, Target.COMPLETION), for_good, None)
    text = "The quick brown fox jumps over the lazy dog while the gateway reads along. " * 20
    held = []
    for piece in cut(text, 5):
        redactor.feed(piece)
        held.append(redactor.held_characters)

    assert sum(held) / len(held) < 8


def test_a_placeholder_of_the_request_is_no_value() -> None:
    text = f"key: {PLACEHOLDER} and token={PLACEHOLDER[1:-1]} mail {PLACEHOLDER}"

    assert whole(RULES, text) == text
    assert in_pieces(RULES, list(text)) == text


def test_what_a_span_covers_beside_a_placeholder_is_replaced() -> None:
    span = Span(0, 10 + len(PLACEHOLDER) + 4, "NOTE", False, "R")
    text = f"secret 99 {PLACEHOLDER} abc!"

    settled = without_placeholders(text, [span], SESSION)

    assert replace_spans(text, settled, for_good) == f"[REDACTED_NOTE]{PLACEHOLDER}[REDACTED_NOTE]!"


def test_every_value_of_a_text_is_found_however_many_there_are() -> None:
    text = " ".join(f"user{number}@example.com" for number in range(300))

    assert "@" not in whole(RULES, text)
    assert "@" not in in_pieces(RULES, cut(text, 11))


def test_RED_STR_8_a_text_that_waits_too_long_does_not_go_out() -> None:
    redactor = Redactor(Pending([]), for_good, None)

    assert [redactor.feed("x" * 1000, undecided_from=0) for _ in range(65)] == [""] * 65
    with pytest.raises(HeldTooLong):
        redactor.feed("x" * 1000, undecided_from=0)
    assert redactor.held_characters <= MAX_HELD_CHARACTERS + 1000


def test_a_span_that_comes_too_late_is_counted() -> None:
    redactor = Redactor(Pending([]), for_good, None)

    assert redactor.feed("0123456789") == "0123456789"
    out = redactor.feed("abc", [Span(8, 12, "X", False, "R")]) + redactor.close()

    assert out == "[REDACTED_X]c"
    assert redactor.missed == 1


@pytest.mark.parametrize(
    ("pattern", "flags"),
    [
        (r"\bfoo\d{2,4}(?:-[a-c]+)?\b", ""),
        (r"(?:ab|a(?:c|d){2,3})x+?y", "i"),
        (r"[^\s@]{1,5}@\w+\.(?i:com|Net)$", ""),
        (r"(?i)key\s{0,2}[:=].{0,6}end", "s"),
        (r"\Bx|^y{2}[\]\-a-c]\S?", "m"),
        (r"(?:\d[ -]?){4,6}", ""),
    ],
)
@given(st.text(alphabet="foabcdxy019 -@.:=key\nENDét", max_size=14), st.text(alphabet="abcdxy019 -comend", max_size=8))
@settings(max_examples=60)
def test_every_match_is_announced_by_its_beginnings(pattern: str, flags: str, text: str, more: str) -> None:
    key = key_of(pattern, flags)
    pending = Pending([key])
    data = (text + more).encode()
    match = regexp(key).search(data)
    if match is None:
        return
    start, end = match.span()
    for size in range(start, end):
        if size < len(data) and data[size] & 0xC0 != 0x80:
            assert pending.start(data[:size]) <= start


def test_nothing_is_held_for_longer_than_the_engine_looks() -> None:
    pending = Pending([key_of("[a-zé]+!", "")])
    data = ("é" * 3000).encode()

    start = pending.start(data)

    assert len(data) - MAX_HELD_BYTES <= start <= len(data) - MAX_HELD_BYTES + 3
    data[start:].decode()


def test_patterns_too_large_for_one_program_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.masking.pending._PROGRAM_BYTES", 64 * 1024)
    patterns = [key_of(rf"prefix{number}[a-z]{{90}}\d", "i") for number in range(10)]

    pending = Pending(patterns)

    assert len(pending._regexps) > 1
    assert pending.start(b"hello prefix7abc") == 6


def test_LIM_15_many_patterns_are_compiled_in_small_programs() -> None:
    pending = Pending([key_of(rf"prefix{number}[a-z]{{3}}\d", "i") for number in range(300)])

    assert len(pending._regexps) > 1
    assert pending.start(b"hello prefix7abc") == pending.start(b"hello prefix299abc") == 6


def test_wide_repeats_make_small_programs_that_hold_at_least_as_much() -> None:
    pending = Pending([key_of(r"key-[a-z]{20,900}\d", "")])

    assert sum(one.programsize for one in pending._regexps) < 500
    for text in (b"see key-", b"see key-" + b"a" * 19, b"see key-" + b"a" * 900):
        assert pending.start(text) == 4
    assert pending.start(b"see key-abc ") == len(b"see key-abc ")


def test_a_pattern_whose_beginnings_are_too_many_holds_as_much_as_a_match_may_be_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rules.masking.pending._PROGRAM_BYTES", 16 * 1024)

    pending = Pending([key_of(r"[a-z]{900}\d{900}", "")])

    assert pending.start(b"x " * 1000) == 2000 - MAX_HELD_BYTES


def test_unfinished_keeps_the_flags() -> None:
    assert unfinished(key_of("a.b", "is")).startswith("(?is:")
