"""The Hyperscan form of a pattern never misses what the pattern matches."""

from __future__ import annotations

import hyperscan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.buffer import TextBuffer
from rules.model import Target, Text
from rules.patterns import PatternKey, PatternRefused, Regexps, check, is_common, key_of, reach_of, regexp
from rules.prefilter import LONG_RUN, Form, Medium, NotUnderstood, forms, widen
from tests.unit.rules.databases import in_pieces, whole_texts

WORDS = (
    "ignore all any the previous prior instructions rules é日 ж Ж 🙂 a b 1 22 . - \n _ x IGNORE Rules ,. _- !".split(
        " "
    )
)
ATOMS = [
    *("a", "b", "x", "é", "Ж", "日", "🙂", ".", r"\d", r"\w", r"\W", r"\S", r"\s", "[ab]", "[^a]", "[^é\\n]", "[а-я]"),
    *(
        "[x-é]",
        r"\.",
        "[]a-]",
        r"[\W_]",
        r"[\d\-.]",
        r"\xe9",
        r"\x41",
        r"\n",
        "1",
        "ignore",
        "rules",
        r"ignore[\s!-/:-@_]+",
        r"(?:all[\s!-/:-@_]+|any[\s!-/:-@_]*|\s)",
        r"(?:(?:all|the)[\W_]+)",
        r"(?:\w{1,3}[\s!-/:-@_]+)",
        r"[\w ,]{0,9}",
        r"\bthe\b",
        r"\b_",
        r"\s?prior",
        r"[\s\w]{2}",
        "{",
        r"[^\x41-\x7a]",
    ),
]
LONG = regexp(key_of(LONG_RUN, ""))
"""Where a text has such a run, other windows hold."""
atoms = st.sampled_from(ATOMS)
counts = st.sampled_from(["", "", "", "?", "+", "{2}", "{1,3}", "{0,4}", "{2,}", "??", "{1,2}?"])


def _compose(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.tuples(st.sampled_from(["(", "(?:", "(?P<n>", "(?i:"]), children).map(
        lambda pair: f"{pair[0]}{pair[1]})"
    )
    item = st.tuples(st.one_of(atoms, group), counts).map("".join)
    return st.one_of(
        st.lists(item, min_size=1, max_size=5).map("".join),
        st.lists(children, min_size=1, max_size=3).map("|".join),
    )


patterns = st.recursive(atoms, _compose, max_leaves=14).filter(lambda pattern: pattern.count("(?P<n>") <= 1)
texts = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


flags_of_patterns = st.sampled_from(["", "i", "s", "is", "m"])
samples_of_texts = st.lists(texts, min_size=3, max_size=8)


@settings(max_examples=120)
@given(pattern=patterns, flags=flags_of_patterns, samples=samples_of_texts)
def test_what_a_pattern_matches_its_widened_form_finds(pattern: str, flags: str, samples: list[str]) -> None:
    check_widened(pattern, flags, samples)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@settings(max_examples=5000)
@given(pattern=patterns, flags=flags_of_patterns, samples=samples_of_texts)
def test_what_a_pattern_matches_its_widened_form_finds_at_length(pattern: str, flags: str, samples: list[str]) -> None:
    check_widened(pattern, flags, samples)


def check_widened(pattern: str, flags: str, samples: list[str]) -> None:
    key = PatternKey(pattern, flags)
    try:
        check(key)
    except PatternRefused:
        return
    exact = regexp(key)
    block, database = whole_texts([key]), in_pieces([key])
    reach = reach_of(key)
    regexps = Regexps([key], [reach])
    for sample in samples:
        data = sample.encode("utf-8", "replace")
        match = exact.search(data)
        if match is not None:
            hits = block.scan(data)
            assert 0 in hits, (pattern, flags, sample)
            buffer = TextBuffer([Text(Target.PROMPT, "", sample)])
            windows = None if LONG.search(data) else buffer.windows(0, hits, regexps, 0)
            low, high = match.span()
            assert windows is None or any(start <= low and high <= end for start, end in windows), (
                pattern,
                flags,
                sample,
            )
            stream = database.open_stream()
            for position in range(len(data)):
                stream.feed(data[position : position + 1])
            stream.close()
            assert 0 in stream.hits


@pytest.mark.parametrize(
    ("pattern", "widened"),
    [
        (r"\bAKIA[0-9A-Z]{16}\b", rb"\bAKIA[0-9A-Z]{16}"),
        (r"sk-[a-z]{20,200}", rb"sk-[a-z]{20}"),
        (r"a.{1}b.c[^\sx]{3}", rb"b.{1,4}c"),
        (r"(?i)first.{0,80}second", rb"(?i)second"),
        (r"first.{0,80}second[^\n]{3}", rb"second"),
        (r"longest[ -~]{0,80}last", rb"longest"),
        (r"longest[\t -\-/-~]{1,80}(?:last|final)", rb"longest"),
        (r"longest[ -,.-~]last", rb"longest[\x20-\x2c\x2e-\x7e]last"),
        (r"\b([A-Za-z0-9_-]{40})\b", rb"[A-Za-z0-9\x5f\x2d]{40}"),
        (r"\b(\d{9,15})\b", rb"\b\d{9,}\b"),
        (r"key=[^\s\"]{8,40};", rb"key="),
        (r"k=[^\s\"]{8,40};", rb"k=[^\s\x22]+;"),
        (r"\b[a-z0-9-]{30,63}\.(?:[a-z]{2,9}\.){1,3}", rb"[a-z0-9\x2d]{30}\.(?:[a-z]{2,}\.)"),
        (r"[0-9]+;x", rb"[0-9];x"),
        (r"a.{0,80}b", rb"a[\x00-\xff]*b"),
        (r"(?:\d[ -]?){13,19}?", rb"(?:\d[\x20\x2d]?){13}"),
        (r"(?P<v>ab){300}", rb"(?:ab)"),
        (r"é?[щ-э]x{2}", rb"(?:\xd0[\xa9-\xad]|\xd1[\x89-\x8d]|\xe1\xb2\x86)x{2}"),
        (r"[a\W-é]{2}", rb"[a\W\x2d\x80-\xff]+"),
        (r"[^a-é]\x00\t", rb"[^a-\x7f]{1,4}\x00\t"),
        (r"^x$|(?i)y", rb"^x$|(?i)y"),
        (r"[ж]?[^ж]", rb"(?:\xd0\x96|\xd0\xb6)?[\x00-\xff]{1,4}"),
        (r"\bignore\s+(?:all\s+)?(?:previous|prior)\s+instructions\b", rb"instructions\b"),
        (
            r"\b(?:kill|delete)\s+(?:the\s+)?(?:user|admin)\b now",
            rb"(?:user|admin)\b now",
        ),
    ],
)
def test_widening(pattern: str, widened: bytes) -> None:
    assert widen(pattern, is_caseless=True) == widened


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\bignore\s+(?:all\s+)?(?:previous|prior)\s+rules\b", [(Medium.WORDS, rb"(?:previous|prior) rules\b")]),
        (r"\b(?:kill|delete)\s+(?:the\s+)?user\s+now", [(Medium.WORDS, rb"\b(?:kill|delete) (?:the )?user")]),
        (r"\b(?:don't|do not)[\s_]+TELL", [(Medium.WORDS, rb"\b(?:don t|do not) tell")]),
        (r"(?:as(?:\s(?:a|an|the)){0,3}\s){1,2}bot\b", [(Medium.WORDS, rb"(?:as(?: (?:a|an|the)){0,3} ){1,2}bot\b")]),
        (
            r"\b(?:send|copy)\s+(?:\w{1,12}\s+){0,4}(?:rules|notes)\b",
            [(Medium.WORDS, rb"\b(?:send|copy) [ 0123456789abcdefghijklmnopqrstuvwxyz]{0,52}(?:rules|notes)\b")],
        ),
        (
            r"\b(?:send|copy)[\w. ]{1,200}(?:rules|notes)\b",
            [(Medium.BYTES, rb"\b(?:send|copy)[\w\x2e\x20]+(?:rules|notes)\b")],
        ),
        (r"</?system_prompt>", [(Medium.BYTES, rb"system_")]),
        (r"\bfirst\s+,\s*second", [(Medium.WORDS, rb"\bfirst  ? ?second")]),
        (r"инструкции|secret\s+words", [(Medium.FOREIGN, None), (Medium.WORDS, rb"secret words")]),
    ],
)
def test_each_branch_is_looked_for_where_that_costs_least(
    pattern: str, expected: list[tuple[Medium, bytes | None]]
) -> None:
    found = forms(pattern, is_caseless=True)
    assert [form.medium for form in found] == [medium for medium, _ in expected]
    for form, (medium, source) in zip(found, expected, strict=True):
        assert source is None or form == Form(medium, source)


def test_places_that_are_known_in_two_ways_are_not_compared() -> None:
    assert reach_of(key_of(r"secret\s+words", "i")) is not None
    assert reach_of(key_of(r"</?SYSTEM>|secret\s+words", "i")) is None


def test_a_pattern_that_asks_for_capitals_is_looked_for_in_the_text_itself() -> None:
    assert {form.medium for form in forms(r"\bDAN\s+mode", is_caseless=False)} == {Medium.BYTES}


@pytest.mark.parametrize(
    ("pattern", "common"),
    [
        (r"\b(?:you|your)\b", True),
        (r"\buser\b", True),
        (r"\b(?:ai|model|system|the user)\b", True),
        (r"\bconfidential\b", False),
        (r"\b(?:password|passwd)\b", False),
        (r"\d{4}", True),
        (r"\d{12}", False),
        ("инструкции", False),
    ],
)
def test_words_that_any_text_may_hold_are_common(pattern: str, common: bool) -> None:
    assert is_common(key_of(pattern, "i")) is common


@pytest.mark.parametrize(
    ("pattern", "is_caseless", "widened"),
    [
        # A capital for which no small letter may stand is rare, and so is what begins with one.
        (r"\b(?:as|like|be)\s+(?:DAN|STAN|DUDE)\b", False, rb"(?:DAN|STAN|DUDE)\b"),
        (r"\b(?:as|like|be)\s+(?:DAN|STAN|DUDE)\b", True, rb"\b(?:as|like|be)\s+(?:DAN|STAN|DUDE)\b"),
        (r"\b[A-Z]{2}\d{4}", False, rb"\b[A-Z]{2}\d{4}"),
        (r"\b[A-Z]{2}\d{4}", True, rb"\d{4}"),
        # Of two stretches alike the one with anchors: short words stand in longer ones, and digits in longer numbers.
        (r"\b(?:sin|nas|social insurance)\b", True, rb"\b(?:sin|nas|social insurance)\b"),
        (r"\b[STFG]\d{7}[A-Z]\b", True, rb"\d{7}[A-Z]\b"),
        # A letter that a digit may stand for is a letter; the digit that must be there is what is rare.
        (r"s[0o]lu[t7][i1][o0]n|res[0]lu[t7][i1][o0]n", True, rb"s[0o]lu[t7][i1][o0]n|res[0]lu"),
        # Of a repetition at the beginning as few suffice.
        (r"[A-Za-z]{2,}[ж-и]", True, rb"[A-Za-z]{2}(?:\xd0[\x96-\x98]|\xd0[\xb6-\xb8])"),
    ],
)
def test_what_is_rare_depends_on_capitals_and_digits(pattern: str, is_caseless: bool, widened: bytes) -> None:
    assert widen(pattern, is_caseless=is_caseless) == widened


def test_a_pattern_with_long_optional_lists_is_cut_to_its_best_part() -> None:
    fillers = "|".join(f"filler{number}" for number in range(9))
    pattern = rf"\b(?:show|print)\s+(?:(?:{fillers})\s+){{0,4}}(?:system prompt|instructions)\b"
    assert widen(pattern, is_caseless=True) == rb"(?:system prompt|instructions)\b"
    assert widen(rf"as(?:{fillers}){{0,4}}to|x", is_caseless=True) == rb"as[\x00-\xff]*to|x"
    assert widen(rf"as(?:{fillers}){{1,4}}to", is_caseless=True) == f"as(?:{fillers})".encode()


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(?=a)b", r"(?<!a)b", r"(a)\1", r"\p{L}", r"[[:alpha:]]", r"(a", r"a)", r"[a", r"*a", r"a{2}{3}", r"\Qa\E"),
        *("a++", r"\x4", r"[\p{L}]", r"[a-\d]", "(" * 50 + "a" + ")" * 50, "\\", r"(?x)a"),
    ],
)
def test_syntax_that_the_engines_do_not_share_is_refused(pattern: str) -> None:
    with pytest.raises(NotUnderstood):
        widen(pattern, is_caseless=True)


def test_patterns_that_explode_in_hyperscan_as_they_are_compile_widened() -> None:
    words = "|".join(f"word{number}[\\W_]{{1,4}}tail" for number in range(40))
    pattern = rf"(?:{words})[\W_]{{1,4}}(?:(?:{words})[\W_]{{1,4}}){{0,4}}(?:end.{{0,80}})\bstop[^\n]{{0,300}}z"
    assert check(PatternKey(pattern, "i")) == 0
    with pytest.raises(hyperscan.error):
        hyperscan.Database().compile(expressions=[b"ignore.{0,40}\\bx[^\\n]{0,60}y"], flags=[0x20 | 1])
