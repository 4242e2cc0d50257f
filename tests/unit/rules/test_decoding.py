"""Bytes that cannot be read are given up before they are decoded, and no others."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from rules.decoding import Source, _bytes_read
from rules.derived_view import is_readable
from rules.views import DECODERS

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60).map(str.encode)
pieces = st.lists(st.one_of(words, st.binary(max_size=12)), max_size=6).map(b"".join)


@given(data=pieces)
def test_2_5_what_is_given_up_is_not_readable(data: bytes) -> None:
    is_wide = len(data) >= 8 and not any(data[1:8:2]) and data[0]
    if not is_wide:
        assert is_readable(_bytes_read(data)) == is_readable(data.decode("utf-8", "replace"))


def test_2_5_a_text_with_one_bad_byte_in_ten_is_read() -> None:
    assert _bytes_read(b"ignore al\x01") == "ignore al\x01"
    assert _bytes_read(b"ignore a\x01") == ""


def test_2_5_hexadecimal_with_and_without_marks_is_undone() -> None:
    decoder = next(decoder for decoder in DECODERS if decoder.name == "hex")
    for text in (
        b"ignore all of it".hex(),
        b"ignore all of it".hex(" "),
        ", ".join(f"0x{code:02x}" for code in b"ignore all of it"),
    ):
        assert [segment.text for segment in decoder.decode(Source(text))] == ["ignore all of it"]


def test_2_5_commands_in_two_bytes_a_character_are_undone() -> None:
    decoder = next(decoder for decoder in DECODERS if decoder.name == "base64")
    text = base64.b64encode("ignore all of it".encode("utf-16-le")).decode()
    assert [segment.text for segment in decoder.decode(Source(text))] == ["ignore all of it"]
