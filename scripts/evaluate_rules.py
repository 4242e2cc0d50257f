"""Recall, precision and false-positive rate of the shipped rules on JSONL files, by source and by rule.

`scripts/evaluate FILE...` prints the tables, `--json OUT` writes the same as JSON, `--packs a,b` takes fewer packs,
`--misses N` shows the first N attacks without a hit and harmless texts with an alert. Rows are described in
`rules.evaluation`. A row without `label` and `spans` is harmless when the name of its file begins with `benign`, and
an attack otherwise.
"""

from __future__ import annotations

import argparse
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from rules.engine import Ruleset
from rules.evaluation import Bar, Evaluation, Row, RuleCount, SourceCount, is_personal
from rules.model import Action
from rules.packs import SHIPPED, load_directory
from rules.ruleset_cache import cached_ruleset

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "rulesets"
"""Compiling takes a while; the tests keep compiled rules in the same place."""
_rows = msgspec.json.Decoder(Row)


class Unusable(Exception):
    """Something that was named cannot be used, in words for whoever named it."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a file with the numbers of their lines; raises `Unusable` with file and line for one that is not a row,
    and for a file without any."""
    # Only a line feed ends a row: some texts hold other line ends, which splitlines would take for one.
    try:
        data = path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    is_empty = True
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            is_empty = False
            try:
                yield number, _rows.decode(line)
            except msgspec.DecodeError as error:
                raise Unusable(f"{path}:{number}: {error}") from None
            except UnicodeDecodeError:
                raise Unusable(f"{path}:{number}: not UTF-8") from None
    if is_empty:
        raise Unusable(f"no rows in {path}")


def load_ruleset(names: str | None) -> Ruleset:
    """The shipped packs with these names, separated by commas, or all; raises `Unusable` for an unknown one."""
    packs = load_directory(SHIPPED)
    chosen = names.split(",") if names else sorted(packs)
    if unknown := [name for name in chosen if name not in packs]:
        raise Unusable(f"no such pack: {', '.join(unknown)}; there are {', '.join(sorted(packs))}")
    files = cached_ruleset([packs[name] for name in chosen], CACHE)
    return Ruleset.load(files.packs_path.read_bytes(), files.database_path.read_bytes())


def evaluate(paths: Iterable[Path], ruleset: Ruleset, misses: int = 0) -> tuple[Evaluation, list[str]]:
    """The counts over all rows of the files, and at most `misses` lines about what went wrong."""
    evaluation = Evaluation(ruleset)
    wrong: list[str] = []
    for path in paths:
        default: Literal["attack", "benign"] = "benign" if path.name.startswith("benign") else "attack"
        for number, row in read_rows(path):
            try:
                findings = [finding for finding in evaluation.add(row, default) if not is_personal(finding)]
            except ValueError as error:
                raise Unusable(f"{path}:{number}: {error}") from None
            except RecursionError:
                raise Unusable(f"{path}:{number}: nested too deeply") from None
            loud = sorted({finding.rule_id for finding in findings if finding.action >= Action.ALERT})
            kind = row.kind(default)
            if (kind == "attack" and not findings) or (kind == "benign" and loud):
                wrong.append(f"{kind} {_shown(row.source)} [{' '.join(loud)}] {row.text[:300]!r}")
    return evaluation, wrong[:misses]


def render(evaluation: Evaluation) -> str:
    """The tables as text."""
    totals = evaluation.totals()
    attacks, benign = (
        sum(count.rows for count in evaluation.sources() if count.kind == kind) for kind in ("attack", "benign")
    )
    parts = [
        "Of an attack these shares are recall, of a harmless text false positives.",
        _table(("Source", "Kind", "Rows", "Any hit", "Alert", "Block"), map(_source_row, evaluation.sources())),
        f"Alerts in all: recall {totals.recall:.1%}, precision {totals.precision:.1%}, "
        f"false-positive rate {totals.false_positive_rate:.2%}",
        _table(
            ("Rule", "Pack", "Action", "Attacks", "Recall", "Benign", "FPR", "Precision"),
            (_rule_row(count, attacks, benign) for count in evaluation.rules()),
        ),
        _table(
            ("Personal data", "Right", "Wrong", "Missed", "Precision", "Recall"),
            (
                (count.type, count.right, count.wrong, count.missed, f"{count.precision:.3f}", f"{count.recall:.3f}")
                for count in evaluation.types()
            ),
        ),
        _table(("Figure", "Rows", "Measured", "Bar", ""), map(_bar_row, evaluation.bars())),
    ]
    return "\n\n".join(parts)


def _source_row(count: SourceCount) -> tuple[object, ...]:
    kind = f"{count.kind} tool" if count.is_tool else count.kind
    shares = (f"{part} ({part / count.rows:.1%})" for part in (count.hit, count.alerted, count.blocked))
    return _shown(count.source), kind, count.rows, *shares


def _shown(name: str) -> str:
    """A name out of a file, without what a terminal would obey or nobody would see."""
    return name if name.isprintable() else repr(name)[1:-1]


def _rule_row(count: RuleCount, attacks: int, benign: int) -> tuple[object, ...]:
    recall, wrong = f"{count.attacks / max(1, attacks):.1%}", f"{count.benign / max(1, benign):.2%}"
    return count.rule_id, count.pack, count.action, count.attacks, recall, count.benign, wrong, f"{count.precision:.2f}"


def _bar_row(bar: Bar) -> tuple[object, ...]:
    limit = f"{'at least' if bar.at_least else 'at most'} {bar.limit:.1%}"
    return bar.name, bar.rows, f"{bar.measured:.2%}", limit, "holds" if bar.holds else "MISSED"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [tuple(head), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_json(evaluation: Evaluation) -> bytes:
    """The tables as JSON; the shares are fractions of 1."""
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "sources": evaluation.sources(),
                "totals": evaluation.totals(),
                "rules": [
                    {**msgspec.structs.asdict(count), "precision": count.precision} for count in evaluation.rules()
                ],
                "personal_data": [
                    {**msgspec.structs.asdict(count), "precision": count.precision, "recall": count.recall}
                    for count in evaluation.types()
                ],
                "bars": [{**msgspec.structs.asdict(bar), "holds": bar.holds} for bar in evaluation.bars()],
            }
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the named files; the exit code is 1 when a bar is missed, and 2 when something named cannot be used."""
    parser = argparse.ArgumentParser(prog="scripts/evaluate", description="How well the shipped rules do.")
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET", help="JSONL file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument("--packs", metavar="NAMES", help="only these packs, separated by commas")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show so many wrong rows")
    options = parser.parse_args(arguments)
    try:
        evaluation, wrong = evaluate(options.datasets, load_ruleset(options.packs), options.misses)
        if options.json:
            options.json.write_bytes(as_json(evaluation))
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(render(evaluation))
    if wrong:
        print("", *wrong, sep="\n")
    return 0 if all(bar.holds for bar in evaluation.bars()) else 1


if __name__ == "__main__":
    sys.exit(main())
