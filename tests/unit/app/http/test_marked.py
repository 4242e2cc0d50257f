"""Findings in place, and JSON over lines, without losing a character or trusting one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.marked import Highlight, highlighted, reindented

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_json_gets_a_line_for_each_member() -> None:
    layout = reindented('{"to": "a,b", "n": [1,{}],"e":[]}')
    assert layout is not None
    assert layout.text == '{\n  "to": "a,b",\n  "n": [\n    1,\n    {}\n  ],\n  "e": []\n}'


@given(VALUES, st.booleans())
def test_layout_keeps_the_value_and_knows_every_place(value: object, compact: bool) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None)
    layout = reindented(text)
    if layout is None:
        assert not (isinstance(value, dict) and value)
        return
    assert json.loads(layout.text) == value
    for index, character in enumerate(text):
        if not character.isspace():
            assert layout.text[layout.places[index]] == character
    assert layout.places[len(text)] == len(layout.text)


@pytest.mark.parametrize("text", ['{"card": 4111…(16)}', '{"key": "AKIA…(20)", "n": 1}'])
def test_masked_json_is_laid_out_too(text: str) -> None:
    assert reindented(text) is not None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "plain", "[see below]", '{"a": 1} {"b": 2}', '{"a": 1', "{a: 1}", '{"a": ]}]', '["x" \x00 1]'],
)
def test_what_is_not_json_stays_as_it_is(text: str) -> None:
    assert reindented(text) is None


def test_a_finding_is_marked_with_its_severity_and_rule() -> None:
    html = highlighted("say hello now", [Highlight(4, 9, "high", ("PI-0001",))])
    assert '<mark class="mark-high" title="PI-0001"><bdi class="hostile">hello</bdi></mark>' in html


def test_overlapping_findings_take_the_worst_colour_where_they_overlap() -> None:
    html = highlighted("abcdef", [Highlight(0, 4, "low", ("A",)), Highlight(2, 6, "critical", ("B",))])
    assert [part.split('"')[0] for part in html.split('class="mark-')[1:]] == ["low", "critical", "critical"]
    assert 'title="A, B"' in html


def test_hostile_text_is_escaped_inside_and_outside_of_marks() -> None:
    html = highlighted("<b>\u202e\u200b</b>\n<script>", [Highlight(0, 5, "medium", ('"><img src=x>',))])
    assert "<b>" not in html
    assert "<script" not in html
    assert "<img" not in html
    assert ">RLO<" in html
    assert "\n" in html


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40)), max_size=5))
def test_any_marks_are_drawn_without_losing_text(text: str, spans: list[tuple[int, int]]) -> None:
    html = highlighted(text, [Highlight(start, end, "info", ("R",)) for start, end in spans])
    assert html.count("<mark") == html.count("</mark>")
    visible = "".join(character for character in text if character.isascii() and character.isalnum())
    stripped = str(html)
    for character in visible:
        assert character in stripped
