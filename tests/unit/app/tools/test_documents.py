"""What a list says about an entry."""

from __future__ import annotations

from app.tools.documents import TITLE_CHARS, title_of


def test_a_description_that_is_cut_says_so() -> None:
    whole = "Reads a file. " * 100
    shown = title_of("tool", {"name": "read", "description": whole})
    assert shown == whole[: TITLE_CHARS - 1] + "…"
    exact = whole[:TITLE_CHARS]
    assert title_of("tool", {"name": "read", "description": exact}) == exact


def test_an_entry_without_words_has_none() -> None:
    assert title_of("tool", {"name": "read", "description": 7}) == ""
    assert title_of("prompt", {"name": "read", "title": "Read\nit"}) == "Read it"
