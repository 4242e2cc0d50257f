"""The subset of JSONPath."""

from __future__ import annotations

from typing import Any

import pytest

from rules.json_path import MAX_SELECTED, PathRefused, TooManyValues, parse, select

DOCUMENT: dict[str, Any] = {
    "path": "/etc/shadow",
    "a": {"b": [1, 2, {"c": 3}], "odd key": True},
    "list": [[1, 2], [3]],
    "deep": {"a": {"a": {"path": "inner"}}},
}


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        ("$", [DOCUMENT]),
        ("$.path", ["/etc/shadow"]),
        ("$['path']", ["/etc/shadow"]),
        ('$["a"]["odd key"]', [True]),
        ("$.a.b[0]", [1]),
        ("$.a.b[-1].c", [3]),
        ("$.a.b[9]", []),
        ("$.a.b[*]", [1, 2, {"c": 3}]),
        ("$.list[*][0]", [1, 3]),
        ("$.list..[0]", [[1, 2], 1, 3]),
        ("$.a.*", [[1, 2, {"c": 3}], True]),
        ("$..c", [3]),
        ("$.missing.path", []),
        ("$.path[0]", []),
        ("$.list.a", []),
    ],
)
def test_AG_PE_2_a_path_selects(path: str, selected: list[Any]) -> None:
    found = select(parse(path), DOCUMENT)
    assert sorted(map(repr, found)) == sorted(map(repr, selected))


def test_a_name_is_found_at_any_depth() -> None:
    assert sorted(select(parse("$..path"), DOCUMENT)) == ["/etc/shadow", "inner"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "path",
        ".path",
        "$path",
        "$.",
        "$..",
        "$.a[",
        "$.a[1:2]",
        "$.a[?(@.b)]",
        "$.a[01]",
        "$...a",
        "$['a'b]",
        "$a",
        "$*",
    ],
)
def test_what_is_not_of_the_subset_is_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        parse(path)


def test_a_path_has_a_bounded_number_of_steps() -> None:
    parse("$" + ".a" * 20)
    with pytest.raises(PathRefused, match="20 steps"):
        parse("$" + ".a" * 21)


def test_many_ways_to_a_value_select_it_once() -> None:
    document: dict[str, Any] = {"leaf": 1}
    for _ in range(200):
        document = {"a": document}
    assert select(parse("$..a..a..a..a..a..a..a..leaf"), document) == [1]


def test_too_many_values_are_said_to_be_too_many() -> None:
    with pytest.raises(TooManyValues):
        select(parse("$[*]"), list(range(MAX_SELECTED + 1)))
