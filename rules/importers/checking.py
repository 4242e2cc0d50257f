"""One file of any kind that `ostiary check` may be given: a rule pack, a policy, or a policy of another product."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rules.importers.importing import import_policy
from rules.importers.reading import read_document
from rules.importers.report import ImportRefused, Note
from rules.lint import lint_pack
from rules.packs import Pack, PackError, Problem, load_pack
from rules.policy import Policy
from rules.policy import read_document as read_policy
from rules.policy_lint import lint_read, remarks

POLICY_MEMBERS = frozenset(field.encode_name for field in msgspec.structs.fields(Policy))


class Checked(msgspec.Struct, frozen=True):
    """What a file is and what is wrong with it. `summary` is a line for a sound one."""

    summary: str
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    """What an import could not carry over; nothing of our own formats has any."""


def check_file(data: bytes, origin: str, packs: Mapping[str, Pack]) -> Checked:
    """Check the bytes of a file named `origin`; `packs` are those that a policy may select."""
    try:
        document = read_document(data)
    except ImportRefused as error:
        return Checked("", (Problem(origin, "", str(error)),))
    if "pack" in document:
        return _pack(data, origin)
    members = set(document)
    is_ours = members <= POLICY_MEMBERS or bool({"packs", "overrides", "detections"} & members)
    # With a mistyped member it is still ours, and not one of another product that has no use for it.
    is_ours |= {"name", "type", "rules"} <= members and _has_conditions(document)
    if is_ours and not _has_patterns(document):
        return _policy(document, origin, packs, "policy", ())
    try:
        imported = import_policy(data, name=origin.rpartition("/")[2].rpartition(".")[0])
    except ImportRefused as error:
        return Checked("", (Problem(origin, "", str(error)),))
    return _policy(imported.document, origin, packs, imported.dialect, tuple(imported.notes))


def _has_patterns(document: dict[str, object]) -> bool:
    """Whether its rules hold patterns, as those of other products do, and not conditions."""
    rules = document.get("rules")
    return isinstance(rules, list) and any(
        isinstance(rule, dict) and {"pattern", "patterns"} & set(rule) for rule in rules
    )


def _has_conditions(document: dict[str, object]) -> bool:
    """Whether one of its rules has conditions as ours have."""
    rules = document.get("rules")
    return isinstance(rules, list) and any(isinstance(rule, dict) and "match" in rule for rule in rules)


def _pack(data: bytes, origin: str) -> Checked:
    problems = lint_pack(data, origin)
    if problems:
        return Checked("", tuple(problems))
    try:
        pack = load_pack(data, origin=origin)
    except PackError as error:
        return Checked("", error.problems)
    return Checked(f"{pack.name} {pack.version}, {len(pack.rules)} rules, all examples hold")


def _policy(
    document: dict[str, object], origin: str, packs: Mapping[str, Pack], kind: str, notes: tuple[Note, ...]
) -> Checked:
    stem = origin.rpartition("/")[2].rpartition(".")[0]
    policy, problems = read_policy(document, origin, name=stem)
    problems = lint_read(policy, problems, origin, packs)
    if policy is None:
        return Checked("", tuple(problems), notes=notes)
    counts = (
        f"{len(policy.packs)} packs, {len(policy.detections)} own detections, {len(policy.rules)} conditional rules"
    )
    return Checked(f"{kind} {policy.name}, {counts}", tuple(problems), tuple(remarks(policy, origin, packs)), notes)
