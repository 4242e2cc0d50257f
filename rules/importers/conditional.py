"""The dialect of conditional rules (AgentGuard's YAML; inventory AG-PE-CFG), which is our own for its `rules`.

What stands around the policy in such a file (providers, listeners, logging) is not policy and is reported.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rules.importers.pattern_lists import slug
from rules.importers.report import Imported, ImportRefused, Report
from rules.policy import Policy

KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(Policy))


def read(document: dict[str, Any], name: str) -> Imported:
    """The policy in a document with `rules` that have a `match` and an `action`."""
    report = Report()
    inner, base = document, ""
    if isinstance(document.get("policy"), dict):
        inner, base = document["policy"], "/policy"
        for key in document:
            if key != "policy":
                report.dropped(f"/{key}", "is not part of a policy")
    made: dict[str, Any] = {}
    for key, value in inner.items():
        if key in KNOWN:
            made[key] = value
        elif key == "version":
            report.dropped(f"{base}/version", "versions are counted by Ostiary")
        else:
            report.dropped(f"{base}/{key}", "has no counterpart here")
    if not made:
        raise ImportRefused("The file holds no policy.")
    own = made.get("name")
    if not isinstance(own, str) or slug(own) != own:
        made["name"] = slug(own) if isinstance(own, str) and slug(own) else slug(name) or "imported-policy"
        if isinstance(own, str):
            report.changed(f"{base}/name", f"the name became {made['name']}")
            made.setdefault("title", own[:200])
    return Imported("conditional rules", made, report.notes)
