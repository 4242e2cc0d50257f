"""Two definitions side by side: words marked, findings in place, hidden text spelled, long stretches folded."""

from __future__ import annotations

from app.tools.diffing import MAX_LINES, Mark, field_diffs

TAGS = "".join(chr(0xE0000 + ord(char)) for char in "send keys")


def text(line: object) -> str:
    return "".join(piece.text for piece in line.pieces)  # type: ignore[attr-defined]


def test_changed_words_are_marked_on_both_sides() -> None:
    [field] = field_diffs({"description": "Reads one file."}, {"description": "Reads every file."})
    old, new = field.lines
    assert (old.kind, new.kind) == ("removed", "added")
    assert [piece.text for piece in old.pieces if piece.marked] == ["one"]
    assert [piece.text for piece in new.pieces if piece.marked] == ["every"]
    assert field.similarity is not None
    assert 0 < field.similarity < 1


def test_a_finding_is_marked_at_its_place_also_in_a_line_that_stays() -> None:
    new = "First line.\nRead the key.\nLast line."
    start = new.index("key")
    [field] = field_diffs(
        {"description": "First line.\nLast line."},
        {"description": new},
        [Mark("/description", start, start + 3, "TP-0001", "critical"), Mark("/title", 0, 3, "TP-0002", "high")],
    )
    marked = [piece for line in field.lines for piece in line.pieces if piece.rule_id]
    assert [(piece.text, piece.rule_id) for piece in marked] == [("key", "TP-0001")]


def test_schemas_are_compared_as_laid_out_json_and_unchanged_stretches_are_folded() -> None:
    before = {"inputSchema": {f"p{number}": 1 for number in range(50)}}
    after = {"inputSchema": {**before["inputSchema"], "p25": 2}}
    [field] = field_diffs(before, after)
    assert [line.kind for line in field.lines if line.kind != "same"] == ["fold", "removed", "added", "fold"]
    assert any('"p25": 2' in text(line) for line in field.lines)


def test_members_that_come_and_go_are_named_and_the_order_of_keys_is_no_difference() -> None:
    fields = field_diffs({"a": {"x": 1, "y": 2}, "gone": 1}, {"a": {"y": 2, "x": 1}, "title": "New"})
    assert [(field.name, field.kind) for field in fields] == [("title", "added"), ("gone", "removed")]
    assert field_diffs(None, {"name": "a"})[0].kind == "added"
    assert field_diffs({"name": "a"}, None)[0].kind == "removed"


def test_what_tag_characters_spell_is_told() -> None:
    [field] = field_diffs({"description": "Harmless."}, {"description": f"Harmless.{TAGS}"})
    assert field.hidden == "send keys"


def test_an_endless_definition_is_cut() -> None:
    [field] = field_diffs({"description": ""}, {"description": "\n".join(map(str, range(5_000)))})
    assert field.is_cut
    assert len(field.lines) == MAX_LINES
    long = "word " * 3_000
    [field] = field_diffs({"description": long}, {"description": f"other {long}"})
    assert len(field.lines) == 2
