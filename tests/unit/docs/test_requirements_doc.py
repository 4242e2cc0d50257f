"""docs/requirements.md says which requirement is tested where.

A further test of a listed requirement does not fail this; `scripts/requirements_doc.py` adds it to the table. What fails is
a requirement that is missing, has no words, or is said to be tested where it is not.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.requirements_doc import ROOT, TARGET, family_of, files_by_requirement, ids_in, load_words, problems, render

ROW = re.compile(r"^\| ([A-Z-]+-\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
LINK = re.compile(r"\]\(\.\./([^)]+)\)")


def test_every_tested_requirement_has_words() -> None:
    assert problems(load_words(), files_by_requirement()) == []


def test_the_table_is_current() -> None:
    words, found = load_words(), files_by_requirement()
    rows = {match[1]: (match[2], LINK.findall(match[3])) for match in ROW.finditer(TARGET.read_text(encoding="utf-8"))}
    remedy = "run scripts/requirements_doc.py"
    assert rows.keys() == found.keys(), remedy
    assert {one: text for one, (text, _) in rows.items()} == {one: words.requirements[one] for one in rows}, remedy
    wrong = {one: set(files) - set(found[one]) for one, (_, files) in rows.items() if not set(files) <= set(found[one])}
    assert wrong == {}, remedy
    assert all(files for _, files in rows.values())


def test_ids_are_read_from_the_beginning_of_a_name_only() -> None:
    assert ids_in("test_HTTP_01_both_lengths") == ["HTTP-01"]
    assert ids_in("test_L_05_and_L_06_the_handshake") == ["L-05", "L-06"]
    assert ids_in("test_LLM_USE_2_streams") == ["LLM-USE-2"]
    assert ids_in("test_an_HTTP_10_client") == []
    assert family_of("LLM-USE-2") == "LLM-USE"


def test_what_has_no_test_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("async def test_HTTP_01_x() -> None: ...\n", encoding="utf-8")
    found = files_by_requirement(tmp_path / "tests")
    assert found == {"HTTP-01": ["tests/test_one.py"]}
    document = render(load_words(), found)
    assert [match[1] for match in ROW.finditer(document)] == ["HTTP-01"]
    assert "[test_one](../tests/test_one.py)" in document
    assert problems(load_words(), {"HTTP-999": ["x"], **found}) == ["HTTP-999 is tested but has no words"]


def test_words_are_one_short_line_each() -> None:
    for requirement, text in load_words().requirements.items():
        assert 10 <= len(text) <= 120, requirement
        assert "|" not in text, requirement
        assert not text.endswith("."), requirement
    assert TARGET.parent == ROOT / "docs"
