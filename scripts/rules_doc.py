"""Write docs/rules.md from the shipped packs; with --check, only say whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rules.compiler import pattern_keys  # noqa: E402
from rules.packs import SHIPPED, Pack, Rule, load_directory  # noqa: E402
from rules.policy import load_policies  # noqa: E402

TARGET = ROOT / "docs" / "rules.md"
HEAD = """# Shipped rules

Generated from `rules/packs/*.json` and `rules/policies/*.json` by `scripts/rules_doc.py`; do not edit by hand.

A rule blocks alone only when its action is *block* and its confidence *high*. Other blocking rules alert, unless two
different rules with scores of 100 or more together agree. Every rule carries examples that must and must not hit;
they are in the pack and are run as tests.
"""


def rules_document(packs: dict[str, Pack]) -> str:
    """The whole page as Markdown."""
    lines = [HEAD, "## Policies", "", "| Policy | For | Enforcement | Packs |", "|---|---|---|---|"]
    for policy in load_policies().values():
        lines.append(
            f"| **{policy.title}** (`{policy.name}`): {policy.description} | {policy.type} | {policy.enforcement} "
            f"| {', '.join(policy.packs)} |"
        )
    lines += ["", *_counts(packs)]
    for name in sorted(packs):
        lines += ["", *_pack_section(packs[name])]
    return "\n".join(lines) + "\n"


def _counts(packs: dict[str, Pack]) -> list[str]:
    """How many rules and patterns each pack has, and what becomes of their hits."""
    actions = ("block", "redact", "alert", "tag", "log")
    lines = ["## Rules by pack", "", f"| Pack | Rules | Patterns | {' | '.join(actions)} |", "|---|" + "---:|" * 7]
    for name in sorted(packs):
        rules = packs[name].rules
        counts = [len(rules), len(pattern_keys([packs[name]])), *(sum(r.action == a for r in rules) for a in actions)]
        lines.append(f"| [{packs[name].title}](#{_anchor(packs[name].title)}) | {' | '.join(map(str, counts))} |")
    rules = [rule for pack in packs.values() for rule in pack.rules]
    patterns = len(pattern_keys(list(packs.values())))
    totals = [len(rules), patterns, *(sum(rule.action == action for rule in rules) for action in actions)]
    lines.append("| **All** | " + " | ".join(f"**{total}**" for total in totals) + " |")
    return [*lines, "", "A pattern that several rules look for counts once."]


def _anchor(title: str) -> str:
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char == "-")


def _pack_section(pack: Pack) -> list[str]:
    lines = [
        f"## {pack.title}",
        "",
        f"Pack `{pack.name}`, version {pack.version}, {len(pack.rules)} rules. {pack.description}",
        "",
        "| Rule | What it finds | Severity | Confidence | Score | Action | Where | Catalogues | False positives |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_rule_row(rule) for rule in pack.rules]
    return lines


def _rule_row(rule: Rule) -> str:
    catalogues = [*rule.map.owasp_llm, *rule.map.owasp_mcp, *rule.map.owasp_asi, *rule.map.atlas, *rule.map.cwe]
    cells = (
        rule.id,
        rule.title,
        rule.severity,
        rule.confidence,
        str(rule.score),
        rule.action,
        ", ".join(target.value for target in rule.targets),
        ", ".join(catalogues),
        rule.false_positives,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Write or check the page; the exit code is 1 when a check finds it out of date."""
    document = rules_document(load_directory(SHIPPED))
    if "--check" in sys.argv[1:]:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == document
        print("docs/rules.md is current" if current else "docs/rules.md is out of date: run scripts/rules_doc.py")
        return 0 if current else 1
    TARGET.write_text(document, encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
