"""Lines out of bytes, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.transport.lines import LineSplitter, LineTooLong


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_P_01_pieces_make_no_difference(chunks: list[bytes]) -> None:
    splitter = LineSplitter(1000)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.close()
    whole = b"".join(chunks).split(b"\n")
    assert lines == [line for line in (one.removesuffix(b"\r") for one in whole) if line]


def test_P_01_a_long_line_is_refused_also_in_pieces() -> None:
    splitter = LineSplitter(5)
    assert splitter.feed(b"12345\n123") == [b"12345"]
    with pytest.raises(LineTooLong):
        splitter.feed(b"456")


def test_P_02_a_long_line_is_cut_where_that_is_enough() -> None:
    splitter = LineSplitter(5, cut=True)
    assert splitter.feed(b"1234567890") == []
    assert splitter.feed(b"1234567890\nab\n") == [b"12345", b"ab"]
