"""docs/pinning.md holds the table of the code, row by row."""

from __future__ import annotations

from pathlib import Path

from rules.pinning import CLASSIFICATION
from rules.pinning.capabilities import Capability

DOCUMENT = (Path(__file__).parents[4] / "docs" / "pinning.md").read_text(encoding="utf-8")


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and "`" in line]
    assert rows == [f"| {row.severity.word} | `{row.code}` | {row.meaning} |" for row in CLASSIFICATION]


def test_the_document_names_every_capability() -> None:
    assert [one for one in Capability if f"`{one}`" not in DOCUMENT] == []
