"""The table that the bench prints."""

from __future__ import annotations

import statistics
from typing import Any


class Table:
    """Rows of figure, bar and reach, printed as Markdown."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def add(self, what: str, figure: str, bar: str = "", reach: str = "") -> None:
        """One line; printed at once, so that a long run shows its progress."""
        self.rows.append({"what": what, "figure": figure, "bar": bar, "reach": reach})
        print(f"| {what} | {figure} | {bar} | {reach} |", flush=True)

    def head(self) -> None:
        """The head of the table."""
        print("| What | Measured | Bar | Reach for |\n|---|---|---|---|", flush=True)


def median_of(runs: list[dict[str, Any]], field: str) -> float:
    """The median of one figure over the runs."""
    return statistics.median(run[field] for run in runs)
