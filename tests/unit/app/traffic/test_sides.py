"""The sides of a call: who said what, what matters first, everything on request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.traffic.schemas import CallDetail, FindingView, MarkView, TextView
from app.traffic.sides import PART_CHARACTERS, SIDE_CHARACTERS, side_of
from app.traffic.views import call_row, finding_view, view_of_row
from tests.support.records import blocked_call, finding


def text(content: str, *marks: tuple[int, int, str], **changes: Any) -> TextView:
    values = {
        "direction": "request",
        "target": "prompt",
        "path": "/messages/0/content",
        "offset": 0,
        "truncated": False,
    }
    found = [MarkView(start=start, end=end, rule_id=rule_id) for start, end, rule_id in marks]
    return TextView(**(values | changes), text=content, marks=found)  # type: ignore[arg-type]


def detail(*texts: TextView, findings: list[FindingView] | None = None) -> CallDetail:
    row = call_row(blocked_call(started_at=datetime.now(UTC).timestamp()), tenant_id="t", proxy_name="P")
    view = view_of_row(row)
    values = {name: getattr(view, name) for name in view.__struct_fields__}
    values["findings"] = [finding_view(finding())] if findings is None else findings
    return CallDetail(**values, texts_state="kept", texts_omitted=0, texts=list(texts), redactions=[])


def test_parts_are_labelled_by_who_speaks_once_a_message() -> None:
    side = side_of(
        detail(
            text("Be brief.", target="system_prompt"),
            text("Hi", path="/messages/1/content/0/text"),
            text("there", path="/messages/1/content/1/text"),
            text("Hello", path="/messages/2/content", target="completion"),
            text("a note", path="/metadata/note"),
            text("answer", direction="response", target="completion"),
        ),
        "request",
    )
    assert [part.label for part in side.parts] == ["system", "user", "", "assistant", "parameter"]
    assert (side.characters, side.hidden, side.is_whole) == (27, 0, True)


def test_a_finding_is_marked_in_place_and_noted_once_in_the_margin() -> None:
    content = "Ignore all of it. Ignore."
    [part] = side_of(detail(text(content, (0, 10, "PI-0001"), (18, 24, "PI-0001"), (0, 3, "UNKNOWN"))), "request").parts
    assert str(part.html).count('class="mark-high" title="PI-0001"') == 2
    [note] = part.notes
    assert (note.rule_id, note.pack, note.severity, note.count) == ("PI-0001", "prompt-injection", "high", 2)


def test_json_is_laid_out_with_the_marks_in_place() -> None:
    content = '{"command": "rm -rf", "n": 1}'
    at = content.index("rm -rf")
    [part] = side_of(detail(text(content, (at, at + 6, "PI-0001"), target="tool_args")), "request").parts
    assert "\n  " in part.html
    assert '<mark class="mark-high" title="PI-0001"><bdi class="hostile">rm -rf</bdi></mark>' in part.html


def test_a_long_part_is_folded_around_its_first_finding_and_whole_on_request() -> None:
    content = "word " * 1000 + "hit" + " word" * 1000
    call = detail(text(content, (5000, 5003, "PI-0001")))
    side = side_of(call, "request")
    [part] = side.parts
    assert (part.skipped, part.remaining) == (4800, len(content) - 4800 - PART_CHARACTERS)
    assert ">hit<" in part.html
    assert not side.is_whole
    whole = side_of(call, "request", whole=True)
    assert whole.is_whole
    assert (whole.parts[0].skipped, whole.parts[0].remaining) == (0, 0)


def test_what_was_found_and_said_last_is_shown_before_definitions_of_tools() -> None:
    tools = [text("t" * 1000, path=f"/tools/{number}", target="tool_description") for number in range(20)]
    said = [text(f"message {number} " + "m" * 700, path=f"/messages/{number}/content") for number in range(9)]
    flagged = text("hit", (0, 3, "PI-0001"), path="/tools/99", target="schema")
    side = side_of(detail(*said, *tools, flagged), "request")
    paths = [part.path for part in side.parts]
    assert {"/messages/8/content", "/tools/99"} <= set(paths)
    assert "/messages/0/content" not in paths
    assert not any(path.startswith("/tools/1") for path in paths)
    assert len(side_of(detail(*tools), "request").parts) > 1, "a list of tools is about tools"
    assert side.hidden == 30 - len(paths)
    assert sum(len(part.html) for part in side.parts) < SIDE_CHARACTERS * 2
    assert len(side_of(detail(*said, *tools, flagged), "request", whole=True).parts) == 30


def test_a_part_says_where_the_capture_was_cut() -> None:
    [part] = side_of(detail(text("half", truncated=True)), "request").parts
    assert part.cut


def test_other_severities_sort_the_margin_worst_first() -> None:
    worse = msgspec.structs.replace(finding_view(finding(rule_id="SEC-1")), severity="critical")
    call = detail(text("abc", (0, 1, "PI-0001"), (1, 2, "SEC-1")), findings=[finding_view(finding()), worse])
    assert [note.severity for note in side_of(call, "request").parts[0].notes] == ["critical", "high"]
