"""Writes the table of checks into docs/scanner.md, from the code.

python scripts/scanner_doc.py           write it
python scripts/scanner_doc.py --check   exit 1 when the document has another one
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "scanner.md"
BEGIN, END = "<!-- checks -->", "<!-- end of checks -->"
TOPICS = {
    "reach": "the way",
    "versions": "versions",
    "authentication": "who is let in",
    "authorization_metadata": "how to log in",
    "sessions": "sessions",
    "origin": "foreign pages",
    "host": "foreign names",
    "lists": "declarations",
    "repeat": "listing twice",
    "other_client": "another client",
    "errors": "errors",
    "traffic": "answers of tools",
    "active": "active probes",
}


def table() -> str:
    """One row a check."""
    from rules.scanning.checks import CHECKS
    from rules.scanning.finding import severity_of

    rows = ["| Check | Looks at | Finds | At most | Category | Catalogues |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{check.id}` | {TOPICS[check.topic]} | {check.title} | {check.score:.1f} {severity_of(check.score).word} "
        f"| {check.category} | {', '.join((*check.owasp_mcp, *check.owasp_asi, *check.cwe))} |"
        for check in CHECKS
    ]
    return "\n".join(rows)


def render(text: str) -> str:
    """The document with the table of now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main() -> int:
    """Write or check; the exit code."""
    text = TARGET.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        is_current = render(text) == text
        print(
            "docs/scanner.md is current."
            if is_current
            else "docs/scanner.md is out of date: run scripts/scanner_doc.py"
        )
        return 0 if is_current else 1
    TARGET.write_text(render(text), encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
