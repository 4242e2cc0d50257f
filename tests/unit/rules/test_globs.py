"""Globs over names."""

from __future__ import annotations

import pytest

from rules.globs import GlobSet


@pytest.mark.parametrize(
    ("globs", "text", "fits"),
    [
        ("gpt-4*", "gpt-4o-mini", True),
        ("gpt-4*", "gpt-4", True),
        ("gpt-4*", "xgpt-4", False),
        ("*", "", True),
        ("*-mini", "gpt-4o-mini", True),
        ("*-mini", "gpt-4o-mini-x", False),
        ("gpt-?", "gpt-4", True),
        ("gpt-?", "gpt-", False),
        ("a?c*", "abcd", True),
        (("one", "two*"), "two-three", True),
        (("one", "two*"), "onetwo", False),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("[ab]*c", "[ab]xc", True),
        ("exec", "EXEC", False),
        ("über*er", "überall für jeder", True),
        ("*\n*", "a\nb", True),
    ],
)
def test_AG_STATE_3_a_glob_fits_a_whole_name(globs: str | tuple[str, ...], text: str, fits: bool) -> None:
    assert GlobSet(globs).matches(text) is fits


@pytest.mark.parametrize("glob", ["exec", "EX*", "*XeC", "e?EC"])
def test_case_can_be_ignored(glob: str) -> None:
    assert GlobSet(glob, fold_case=True).matches("Exec")


def test_many_stars_stay_linear() -> None:
    assert not GlobSet("*a" * 60 + "*b").matches("a" * 5_000)
