"""Places of texts as records and errors show them: the name of a member may itself be a value to hide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rules.model import Finding


def hidden_names(findings: Iterable[Finding]) -> dict[str, str]:
    """The names of members that are such values, as they stand in pointers, and what is shown for each."""
    names = [
        finding.path[:-1].rpartition("/")[2] for finding in findings if finding.sensitive and finding.path[-1:] == "#"
    ]
    return {name: f"[masked-{number}]" for number, name in enumerate(dict.fromkeys(names), 1)}


def shown_place(path: str, hidden: Mapping[str, str]) -> str:
    """The pointer with other words for the names that are `hidden`."""
    return "/".join([_shown(step, hidden) for step in path.split("/")]) if hidden else path


def _shown(step: str, hidden: Mapping[str, str]) -> str:
    if step in hidden:
        return hidden[step]
    return f"{hidden[step[:-1]]}#" if step[-1:] == "#" and step[:-1] in hidden else step
