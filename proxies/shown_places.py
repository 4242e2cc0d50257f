"""Places of texts and names of models as records and errors show them: a name may itself be a value to hide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from rules.model import Finding
from rules.redact import mask, masked

MODEL_PATH: Final = "/model"
"""Where findings in the name of a model say that they are, wherever the API has it: in the body, or in the path."""


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


def shown_model(model: str, path: str, findings: Iterable[Finding]) -> tuple[str, str]:
    """The name of a model, and the path that may hold it, without the values that rules found in the name."""
    spans = [(one.value_start, one.value_end) for one in findings if one.sensitive and one.path == MODEL_PATH]
    for start, end in spans:
        value = model[start:end]
        # Any character of a path may be written as an escape, in either case.
        if value and value in (plain := unquote(path)):
            path = plain.replace(value, mask(value))
    return (masked(model, spans).text, path) if spans else (model, path)


def shown_address(text: str, hide: Callable[[str], str]) -> str:
    """A path, or a sentence that repeats one, as `hide` leaves it, also where it is written with escapes."""
    plain = unquote(text)
    shown = hide(plain)
    return text if shown == plain else shown
