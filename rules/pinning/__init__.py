"""Pinning of MCP servers: what was approved, what is there now, and how bad the difference is (detection.md §5.4).

`canonical` gives every JSON value one form and one hash. `references` expands the local references of a schema, so that
notation does not count, and `capabilities` says what a tool can do. `baseline.observe` turns a captured description
into a `Baseline` with these. `changes.diff` compares a baseline with a new description: `schemas` reads the parameters,
`texts` the descriptions, `names` the look-alikes, and `classification` holds the table that decides. `visible` shows
what a reader would not see. Everything is pure and bounded; descriptions are hostile input.
"""

from rules.pinning.baseline import Baseline, Entry, Origin, ServerDescription, observe
from rules.pinning.changes import Change, FieldChange, diff
from rules.pinning.classification import CLASSIFICATION, Reason

__all__ = [
    "CLASSIFICATION",
    "Baseline",
    "Change",
    "Entry",
    "FieldChange",
    "Origin",
    "Reason",
    "ServerDescription",
    "diff",
    "observe",
]
