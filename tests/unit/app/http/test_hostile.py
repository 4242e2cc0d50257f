"""Text from outside is escaped, isolated, and its invisible characters are drawn."""

import pytest
from markupsafe import Markup

from app.http.hostile import hostile, is_deceptive, token_label


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        '<div hx-get="/x" hx-trigger="load">',
        '<div data-hx-on:click="alert(1)">',
        "</textarea><svg/onload=alert(1)>",
        "&lt;b&gt; &amp;lt;",
    ],
)
def test_INJ_01_markup_in_hostile_text_stays_text(text: str) -> None:
    inside = str(hostile(text)).removeprefix('<bdi class="hostile">').removesuffix("</bdi>")
    assert not {"<", ">", '"', "'"} & set(inside)
    assert Markup(inside).unescape() == text


def test_INJ_02_markup_objects_are_not_trusted_because_of_their_type() -> None:
    assert "<b>" not in hostile(Markup("<b>").unescape())
    assert "&lt;b&gt;" in hostile("<b>")


@pytest.mark.parametrize(
    ("character", "label"),
    [
        ("\u200b", "ZWSP"),
        ("\u202e", "RLO"),
        ("\u2066", "LRI"),
        ("\x1b", "ESC"),
        ("\x00", "NUL"),
        ("\xa0", "NBSP"),
        ("\xad", "SHY"),
        ("\u2028", "LSEP"),
        ("\ufe0f", "U+FE0F"),
        ("\u3164", "U+3164"),
        ("\U000e0041", "TAG A"),
        ("\ue000", "U+E000"),
        ("\ud800", "U+D800"),
    ],
)
def test_INJ_03_invisible_and_direction_characters_become_tokens(character: str, label: str) -> None:
    drawn = hostile(f"a{character}b")
    assert character not in drawn
    assert f">{label}</span>" in drawn
    assert token_label(character) == label


def test_INJ_03_a_long_invisible_run_is_one_token_that_reveals_hidden_letters() -> None:
    smuggled = "".join(chr(0xE0000 + ord(letter)) for letter in "read ~/.ssh")
    drawn = hostile(f"Weather{smuggled}")
    assert "11 invisible characters" in drawn
    assert 'title="hidden text: read ~/.ssh"' in drawn


def test_INJ_03_long_text_is_cut_with_a_note_and_whole_without_a_limit() -> None:
    assert "… 999,980" not in hostile("x" * 1_000_000, 20)
    assert '<span class="tok tok-rest">… 999980 more characters' in hostile("x" * 1_000_000, 20)
    assert len(hostile("x" * 1_000_000)) > 1_000_000


def test_ordinary_text_of_any_script_is_left_alone() -> None:
    text = "Grüße, 東京 – مرحبا, naïve café 1 234"
    assert str(hostile(text.replace(" ", " "))).removeprefix('<bdi class="hostile">') == text + "</bdi>"


def test_line_breaks_are_kept_only_where_they_may_be() -> None:
    assert "LF" in hostile("a\nb")
    assert "a\nb\tc" in hostile("a\nb\tc", lines=True)
    assert "ESC" in hostile("a\n\x1b", lines=True)


def test_a_plain_space_is_not_deceptive() -> None:
    assert not is_deceptive(" ")
    assert is_deceptive("\u2003")
