"""Writes docs/requirements.md: every requirement whose id is in a test's name, what it means, and where it is tested.

python scripts/requirements_doc.py           write the file
python scripts/requirements_doc.py --check   exit 1 when the file is not what the tests and the words say

The words are in docs/requirements.json; an id without words is an error, words without a test are not listed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "requirements.md"
WORDS = ROOT / "docs" / "requirements.json"

ID = r"[A-Z]+(?:_[A-Z]+)*_\d+"
IDS_OF_A_TEST = re.compile(rf"test_({ID}(?:_(?:and_)?{ID})*)(?:_|$)")

HEAD = """# Requirements and their tests

Made by `scripts/requirements_doc.py` from the names of the tests and the words in `docs/requirements.json`; a test fails
when it is out of date. A requirement is listed when a test bears its id, which says that it is tested and not that nothing
of it is left: what is missing on purpose stands in the documents of the parts.
"""


class Words(msgspec.Struct, forbid_unknown_fields=True):
    """What families and requirements are called; both in the order of the document."""

    families: dict[str, str]
    requirements: dict[str, str]


def ids_in(name: str) -> list[str]:
    """The requirement ids at the beginning of a test's name: `test_L_05_and_L_06_the_…` → L-05, L-06."""
    match = IDS_OF_A_TEST.match(name)
    return [found.replace("_", "-") for found in re.findall(ID, match[1])] if match else []


def files_by_requirement(tests: Path = ROOT / "tests") -> dict[str, list[str]]:
    """The test files of each requirement, as paths from the repository's root."""
    files: dict[str, set[str]] = defaultdict(set)
    for path in tests.rglob("test_*.py"):
        for name in _functions(path):
            for found in ids_in(name):
                files[found].add(str(path.relative_to(tests.parent)))
    return {requirement: sorted(found) for requirement, found in files.items()}


def problems(words: Words, found: dict[str, list[str]]) -> list[str]:
    """What keeps the document from being made."""
    return [
        *(f"{one} is tested but has no words" for one in sorted(found.keys() - words.requirements.keys())),
        *(f"{one} is of no family" for one in words.requirements if family_of(one) not in words.families),
    ]


def family_of(requirement: str) -> str:
    """`LLM-USE-2` → `LLM-USE`."""
    return requirement.rpartition("-")[0]


def render(words: Words, found: dict[str, list[str]]) -> str:
    """The whole document."""
    lines = [HEAD]
    for family, title in words.families.items():
        rows = [(one, text) for one, text in words.requirements.items() if family_of(one) == family and one in found]
        if not rows:
            continue
        lines += [f"## {title}", "", "| Requirement | Meaning | Tests |", "|---|---|---|"]
        for one, text in rows:
            links = ", ".join(f"[{Path(file).stem}](../{file})" for file in found[one])
            lines.append(f"| {one} | {text} | {links} |")
        lines.append("")
    return "\n".join(lines)


def load_words() -> Words:
    """The hand-written part; raises msgspec.ValidationError for a damaged file."""
    return msgspec.json.decode(WORDS.read_bytes(), type=Words)


def main() -> int:
    """Write or check the file; the exit code."""
    words, found = load_words(), files_by_requirement()
    if wrong := problems(words, found):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    document = render(words, found)
    if "--check" in sys.argv[1:]:
        is_current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == document
        state = "is current." if is_current else "is out of date: run scripts/requirements_doc.py"
        print(f"docs/requirements.md {state}")
        return 0 if is_current else 1
    TARGET.write_text(document, encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}")
    return 0


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


if __name__ == "__main__":
    raise SystemExit(main())
