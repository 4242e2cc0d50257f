"""The differences between what was approved and what is there now, classified (detection.md §5.4, SYP-RUG-2, 3, 4).

`diff` never changes the baseline: only a person's approval does. Its result is everything that a review page shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from rules.model import Finding, Severity
from rules.pinning.baseline import (
    SCHEMA_MEMBERS,
    Baseline,
    Entry,
    EntryKind,
    ServerDescription,
    entry_pointers,
    finding_key,
    findings_by_entry,
    observe,
)
from rules.pinning.canonical import canonical_json
from rules.pinning.capabilities import DESTRUCTIVE, EGRESS
from rules.pinning.classification import Reason, in_order
from rules.pinning.names import clash_kind, skeleton
from rules.pinning.references import NotExpandable, expanded
from rules.pinning.schemas import escaped, schema_reasons
from rules.pinning.texts import text_reasons
from rules.pinning.visible import similarity, visible

FINDING_PACKS: Final = frozenset({"tool-poisoning", "hidden-text", "exfiltration"})
"""Packs whose finding in changed text makes a change critical."""
RENAME_SIMILARITY: Final = 0.8
MAX_RENAME_PAIRS: Final = 10_000

_SERVER_TEXTS: Final = frozenset(
    {"server_identity_changed", "server_version_changed", "server_details_changed", "server_capabilities_changed"}
)
_HINT_DEFAULTS: Final = {"readOnlyHint": (False, True), "destructiveHint": (True, False)}
"""The value that a missing hint has, and the one that claims to be safer."""


class FieldChange(msgspec.Struct, frozen=True):
    """One member before and after, ready to be shown: hidden characters visible, long texts cut."""

    name: str
    before: str
    after: str
    similarity: float


class Change(msgspec.Struct, frozen=True):
    """One difference. The first of its reasons decides how bad it is."""

    kind: EntryKind | Literal["server"]
    name: str
    """The name now, or the last one of what is gone; empty for the server itself."""
    reasons: tuple[Reason, ...]
    fields: tuple[FieldChange, ...] = ()
    hash_before: str = ""
    hash_after: str = ""
    renamed_from: str = ""

    @property
    def code(self) -> str:
        return self.reasons[0].code

    @property
    def severity(self) -> Severity:
        return self.reasons[0].severity


def diff(
    baseline: Baseline,
    description: ServerDescription,
    findings: Iterable[Finding] = (),
    other_names: Mapping[str, Iterable[str]] | None = None,
) -> list[Change]:
    """All changes, the worst first; none if and only if nothing was changed.

    `findings` are those of the rules in the description, with paths inside it. `other_names` are the tool names of the
    other servers that the same clients see, by server.
    """
    found = [*findings]
    observed = observe(description, found)
    names = _Names(baseline, other_names or {})
    news = _News(description, found)
    changes = _faults(observed)
    changes += _server_changes(baseline, observed, news)
    changes += _entry_changes(baseline, observed, news, names)
    return sorted(changes, key=lambda change: (-change.severity, change.kind, change.name))


class _News:
    """The findings that whoever approved an entry has not seen, by entry."""

    def __init__(self, description: ServerDescription, findings: Sequence[Finding]) -> None:
        self._pointers = entry_pointers(description)
        self._findings = findings_by_entry(one for one in findings if one.pack in FINDING_PACKS)

    def of(self, entry: Entry, known: Iterable[str] = ()) -> list[Reason]:
        pointer = self._pointers.get((entry.kind, entry.name), "")
        seen = set(known)
        return [
            Reason("new_finding", one.path[len(pointer) :], f"{one.rule_id} {one.title}: {one.evidence}")
            for one in self._findings.get(pointer, ())
            if finding_key(one, pointer) not in seen
        ]

    def of_server(self, *, in_instructions: bool, elsewhere: bool) -> list[Reason]:
        """The findings in the instructions, if they are new, and in the rest of the description, if that is."""
        return [
            Reason("new_finding", one.path, f"{one.rule_id} {one.title}: {one.evidence}")
            for one in self._findings.get("/initialize", ())
            if (in_instructions if one.path.startswith("/initialize/instructions") else elsewhere)
        ]


class _Names:
    """What a new tool's name could be taken for."""

    def __init__(self, baseline: Baseline, other_names: Mapping[str, Iterable[str]]) -> None:
        self._known: dict[str, list[tuple[str, str]]] = {}
        own = {"": [entry.name for entry in baseline.entries if entry.kind == "tool"]}
        for server, names in (own | dict(other_names)).items():
            for name in names:
                self._known.setdefault(skeleton(name), []).append((server, name))

    def reasons(self, name: str) -> list[Reason]:
        reasons = []
        for server, known in self._known.get(skeleton(name), ()):
            kind = clash_kind(name, known)
            if kind == "same" and server:
                reasons.append(Reason("name_collision", "/name", visible(f"{known} of {server}", 300)))
            elif kind not in (None, "same"):
                reasons.append(
                    Reason("look_alike_name", "/name", visible(f"{known} of {server or 'this server'}", 300))
                )
        return reasons


def _faults(observed: Baseline) -> list[Change]:
    return [
        Change(fault.kind, visible(fault.name, 300), (Reason(fault.code, fault.pointer),)) for fault in observed.faults
    ]


def _server_changes(baseline: Baseline, observed: Baseline, news: _News) -> list[Change]:
    before, after = baseline.origin, observed.origin
    reasons: list[Reason] = []
    if (before.url, before.command) != (after.url, after.command):
        reasons.append(Reason("origin_changed"))
    if before.authenticated and not after.authenticated:
        reasons.append(Reason("authentication_removed"))
    if before.tls_key_sha256 != after.tls_key_sha256 and before.tls_key_sha256:
        reasons.append(Reason("tls_key_changed"))
    for attribute, code in (
        ("server_name", "server_identity_changed"),
        ("server_version", "server_version_changed"),
        ("instructions", "instructions_changed"),
        ("details", "server_details_changed"),
        ("capabilities", "server_capabilities_changed"),
    ):
        if getattr(baseline, attribute) != getattr(observed, attribute):
            reasons.append(Reason(code))
    if baseline.protocol_version != observed.protocol_version:
        downgraded = observed.protocol_version < baseline.protocol_version
        reasons.append(Reason("protocol_downgraded" if downgraded else "protocol_changed"))
    if baseline.instructions != observed.instructions:
        texts = text_reasons(baseline.instructions, observed.instructions, "/initialize/instructions")
        reasons += [reason for reason in texts if reason.code == "hidden_characters_added"]
    if not reasons:
        return []
    codes = {reason.code for reason in reasons}
    reasons += news.of_server(
        in_instructions="instructions_changed" in codes, elsewhere=not codes.isdisjoint(_SERVER_TEXTS)
    )
    return [Change("server", "", in_order(reasons), _fields(_server_members(baseline), _server_members(observed)))]


def _server_members(baseline: Baseline) -> dict[str, Any]:
    return {
        "url": baseline.origin.url,
        "command": " ".join(baseline.origin.command),
        "tls_key_sha256": baseline.origin.tls_key_sha256,
        "authenticated": str(baseline.origin.authenticated).lower(),
        "name": baseline.server_name,
        "version": baseline.server_version,
        "protocolVersion": baseline.protocol_version,
        "instructions": baseline.instructions,
        "capabilities": baseline.capabilities.decode(),
        "details": baseline.details.decode(),
    }


def _entry_changes(baseline: Baseline, observed: Baseline, news: _News, names: _Names) -> list[Change]:
    before = {(entry.kind, entry.name): entry for entry in baseline.entries}
    after = {(entry.kind, entry.name): entry for entry in observed.entries}
    changes = [
        _changed(before[key], entry, news)
        for key, entry in after.items()
        if key in before and before[key].h_raw != entry.h_raw
    ]
    removed = [entry for key, entry in before.items() if key not in after]
    added = [entry for key, entry in after.items() if key not in before]
    renamed = _renamed(removed, added)
    for entry in added:
        reasons = [*news.of(entry), *(names.reasons(entry.name) if entry.kind == "tool" else ())]
        if origin := renamed.get((entry.kind, entry.name)):
            row = Reason("tool_renamed", "/name", visible(origin.name, 300))
            rest = _changed(origin, entry, news).reasons
            changes.append(_added(entry, [row, *reasons, *rest], origin))
        else:
            row = Reason("tool_added" if entry.kind == "tool" else "entry_added")
            changes.append(_added(entry, [row, *reasons], None))
    gone = {(origin.kind, origin.name) for origin in renamed.values()}
    changes += [
        Change(
            entry.kind,
            visible(entry.name, 300),
            (Reason("tool_removed" if entry.kind == "tool" else "entry_removed"),),
            _fields(entry.value(), {}),
            hash_before=entry.h_raw,
        )
        for entry in removed
        if (entry.kind, entry.name) not in gone
    ]
    return changes


def _added(entry: Entry, reasons: Iterable[Reason], origin: Entry | None) -> Change:
    return Change(
        entry.kind,
        visible(entry.name, 300),
        in_order(reasons),
        _fields(origin.value() if origin else {}, entry.value()),
        hash_before=origin.h_raw if origin else "",
        hash_after=entry.h_raw,
        renamed_from=visible(origin.name, 300) if origin else "",
    )


def _renamed(removed: Sequence[Entry], added: Sequence[Entry]) -> dict[tuple[EntryKind, str], Entry]:
    """For new tools the vanished tool that each of them probably was: the same parameters or nearly the same text."""
    pairs: dict[tuple[EntryKind, str], Entry] = {}
    free = [entry for entry in removed if entry.kind == "tool"]
    compared = 0
    for entry in added:
        for origin in free:
            compared += 1
            if entry.kind == "tool" and compared <= MAX_RENAME_PAIRS and _is_alike(origin, entry):
                pairs[entry.kind, entry.name] = origin
                free.remove(origin)
                break
    return pairs


def _is_alike(origin: Entry, entry: Entry) -> bool:
    one, other = origin.value(), entry.value()
    schema = one.get("inputSchema")
    if (
        type(schema) is dict
        and schema.get("properties")
        and origin.fields.get("inputSchema") == entry.fields.get("inputSchema")
    ):
        return True
    left, right = one.get("description"), other.get("description")
    return bool(
        type(left) is str and type(right) is str and left.strip() and similarity(left, right) >= RENAME_SIMILARITY
    )


def _changed(before: Entry, after: Entry, news: _News) -> Change:
    left, right = before.value(), after.value()
    changed = [key for key in sorted(left.keys() | right.keys()) if before.fields.get(key) != after.fields.get(key)]
    reasons = news.of(after, before.known_findings)
    if before.h_sem == after.h_sem:
        reasons.append(Reason("notation_changed"))
    else:
        gained = (set(after.capabilities) - set(before.capabilities)) & (DESTRUCTIVE | EGRESS)
        reasons += [Reason("dangerous_capability_added", "", capability) for capability in sorted(gained)]
        for key in changed:
            reasons += _member_reasons(before, after, key, left, right)
    return Change(
        after.kind,
        visible(after.name, 300),
        in_order(reasons or [Reason("member_changed")]),
        _fields(left, right),
        hash_before=before.h_raw,
        hash_after=after.h_raw,
    )


def _member_reasons(before: Entry, after: Entry, key: str, left: dict[str, Any], right: dict[str, Any]) -> list[Reason]:
    pointer = f"/{escaped(key)}"
    one, other = left.get(key), right.get(key)
    if key == "annotations":
        is_schema_equal = _expanded(left.get("inputSchema"))[0] == _expanded(right.get("inputSchema"))[0]
        return _hint_reasons(one, other, is_schema_equal)
    if key in SCHEMA_MEMBERS and before.kind == "tool":
        return _schema_reasons(one, other, pointer, output=key == "outputSchema")
    if key == "description":
        return text_reasons(one if type(one) is str else "", other if type(other) is str else "", pointer)
    if key in ("title", "icons"):
        hidden = text_reasons(str(one), str(other), pointer) if key == "title" else []
        return [Reason("title_changed", pointer), *(one for one in hidden if one.code == "hidden_characters_added")]
    return [] if key == "name" else [Reason("member_changed", pointer)]


def _schema_reasons(before: Any, after: Any, pointer: str, *, output: bool) -> list[Reason]:
    (left, _), (right, refusal) = _expanded(before), _expanded(after)
    reasons = [Reason("schema_not_expandable", pointer, refusal)] if refusal else []
    reasons += schema_reasons(left, right, pointer)
    if output:
        # What a tool returns is not what it takes: only what reaches the model by itself stays critical.
        critical = [one for one in reasons if one.severity is Severity.CRITICAL]
        return [*critical, Reason("output_schema_changed", pointer)]
    return reasons


def _expanded(schema: Any) -> tuple[Any, str]:
    """The schema expanded, or as it is with the reason why it cannot be."""
    try:
        return expanded(schema), ""
    except NotExpandable as error:
        return schema, str(error)


def _hint_reasons(before: Any, after: Any, is_schema_equal: bool) -> list[Reason]:
    reasons = []
    for hint, (default, safer) in _HINT_DEFAULTS.items():
        one, other = _hint(before, hint, default), _hint(after, hint, default)
        if one is not other and other is safer:
            code = "hint_made_safer" if is_schema_equal else "hint_made_safer_with_changes"
            reasons.append(Reason(code, f"/annotations/{hint}"))
    return reasons or [Reason("annotations_changed", "/annotations")]


def _hint(annotations: Any, hint: str, default: bool) -> bool:
    value = annotations.get(hint) if type(annotations) is dict else None
    return value if type(value) is bool else default


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """The members that differ, as texts."""
    changes = []
    for key in sorted(before.keys() | after.keys()):
        one, other = _shown(before, key), _shown(after, key)
        if one != other:
            changes.append(FieldChange(visible(key, 300), visible(one), visible(other), similarity(one, other)))
    return tuple(changes)


def _shown(members: Mapping[str, Any], key: str) -> str:
    if key not in members:
        return ""
    value = members[key]
    return value if type(value) is str else canonical_json(value).decode()
