"""Where a value ends that is longer than its pattern, in a whole text and in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.long_values import TOLD_CHARACTERS, LongValue

LINE = "MIIEvQrPDc330O7WOwhD9Lsgc8VdzEbHoSqSOcykKPFSc3O4tGgS12EkQJZBj3XI"
PIECES = st.sampled_from(
    [
        LINE,
        LINE[:20],
        LINE[:5],
        "=",
        "\n",
        "\\n",
        '"',
        " ",
        "-----END",
        "-----",
        "END",
        "a word",
        ".",
        "+",
        "\\",
        "\u00e9",
    ]
)


def reach(label: str, text: str) -> int:
    value = LongValue(label, 0)
    value.feed(text)
    value.close()
    return value.end


@pytest.mark.parametrize(
    "rest",
    [
        f"{LINE}\n{LINE}\n{LINE[:9]}=\n",
        f"{LINE[:3]}\n{LINE}\n{LINE[:20]}==\n",
        f"\n    {LINE}\n    {LINE[:2]}\n    ",
        f'\\n{LINE}\\n"\n "{LINE}\\n" + \n',
    ],
)
def test_a_key_goes_on_to_its_last_line(rest: str) -> None:
    assert reach("PRIVATE_KEY", f"{rest}-----END PRIVATE KEY-----\nThanks") == len(rest)


def test_a_key_without_an_end_takes_no_sentence_with_it() -> None:
    assert reach("PRIVATE_KEY", f"{LINE}\nplease tell me what this is") == len(LINE)
    assert reach("PRIVATE_KEY", f"{LINE}\n{LINE[:9]}") == len(f"{LINE}\n{LINE[:9]}")


def test_a_token_goes_on_over_its_points_and_ends_before_that_of_a_sentence() -> None:
    assert reach("JWT", f"{LINE}.{LINE}_-x. Then") == 2 * len(LINE) + 4
    assert reach("JWT", " Then") == 0


@given(st.lists(PIECES, max_size=30), st.sampled_from(["PRIVATE_KEY", "JWT"]), st.data())
def test_RED_STR_6_a_value_ends_at_the_same_place_however_its_text_is_cut(
    pieces: list[str], label: str, data: st.DataObject
) -> None:
    text = "".join(pieces)
    value = LongValue(label, 0)
    told = []
    position = 0
    while position < len(text) and not value.is_over:
        size = data.draw(st.integers(1, 40))
        told.append(value.feed(text[position : position + size]))
        position += size
    if not value.is_over:
        told.append(value.close())

    assert value.end == reach(label, text)
    parts = [part for part in told if part is not None]
    assert [part.start for part in parts] == [0, *(part.end for part in parts)][: len(parts)]
    assert (parts[-1].end if parts else 0) == value.end


def test_what_waits_of_a_value_is_bounded() -> None:
    value = LongValue("PRIVATE_KEY", 0)
    for _ in range(400):
        value.feed(LINE[:16] + "\n")
        assert value.end - value.told_from < TOLD_CHARACTERS
