"""What an observation means for what is stored: pure, so that every row of the table can be tested.

new          pending, unless the proxy approves by itself; prompts, templates and resources without findings are approved
changed      classified by `rules.pinning`: medium and milder is tolerated, high and critical is quarantined
gone         missing; a tool that somebody had approved leaves an open change
back         what serves what was approved is approved again, and the open change is withdrawn
the server   pinned like an entry; another origin makes everything pending again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from app.tools.documents import IDENTITY, Declared, description, parsed, title_of
from app.tools.findings import EntryFinding, Found
from app.tools.states import QUARANTINE_FROM, Risk, State, risk_of, state_of
from proxies.contract import ObservedEntry
from rules.model import Severity
from rules.pinning import Change, diff, observe
from rules.pinning.baseline import MAX_ENTRY_BYTES, MAX_MEMBERS, MAX_NAME_CHARS, SCHEMA_MEMBERS, Baseline
from rules.pinning.canonical import NotCanonical, hash_json, sha256
from rules.pinning.capabilities import capabilities_of
from rules.pinning.classification import SEVERITY_OF, Reason
from rules.pinning.names import VALID
from rules.pinning.references import NotExpandable, expanded
from rules.pinning.schemas import dangers

AutoApprove = Literal["none", "clean", "all"]
Decision = Literal["", "first", "auto_approved"]
Key = tuple[str, str]
"""Kind and name."""
MAX_TOLERATED: Final = 20
MAX_REASONS: Final = 100
UNUSUAL_NAME: Final = "unusual_name"
"""A tool name outside what the specification recommends (T-05)."""


class KnownEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is stored. Documents are there only where they are needed."""

    kind: str
    name: str
    approved_hash: str = ""
    approved_document: bytes | None = None
    approved_findings: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    current_hash: str = ""
    is_disabled: bool = False
    is_missing: bool = False
    is_blocked: bool = False

    @property
    def key(self) -> Key:
        return self.kind, self.name


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it was observed."""

    kind: str
    name: str
    h_raw: str
    document: bytes
    fault: Literal["", "duplicate_name", "unreadable_entry"] = ""
    """Why no hash of it is good."""

    @property
    def key(self) -> Key:
        return self.kind, self.name

    @property
    def is_blocked(self) -> bool:
        return bool(self.fault)


class ChangeDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A change to be recorded."""

    code: str
    severity: Severity
    reasons: tuple[Reason, ...]
    status: Literal["open", "approved", "tolerated"]
    similarity: float | None = None
    renamed_from: str = ""
    before_hash: str = ""
    after_hash: str = ""
    before_document: bytes | None = None
    after_document: bytes | None = None


class EntryJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one entry."""

    key: Key
    sighting: Sighting | None = None
    """The definition now; None for one that is gone."""
    is_new: bool = False
    approval: Decision = ""
    """Whether the judgement itself approves what was sighted."""
    tolerates: bool = False
    loses_approval: bool = False
    change: ChangeDraft | None = None
    is_back: bool = False
    """Whether it serves again what was approved: open changes of it are withdrawn."""
    h_sem: str = ""
    title: str = ""
    capabilities: tuple[str, ...] = ()
    risk: Risk = Risk.NONE
    findings: tuple[EntryFinding, ...] = ()
    reasons: tuple[dict[str, Any], ...] = ()


class Judgement(msgspec.Struct, frozen=True):
    """What becomes of everything that an observation touches; nothing where nothing was changed."""

    entries: tuple[EntryJudgement, ...] = ()


def sightings_of(entries: Iterable[ObservedEntry]) -> tuple[list[Sighting], list[str]]:
    """The observed entries, each name once, and what is wrong with them in sentences."""
    problems: list[str] = []
    by_key: dict[Key, Sighting] = {}
    doubles: Counter[Key] = Counter()
    for entry in entries:
        if sha256(entry.document) != entry.h_raw:
            problems.append(f"A {entry.kind} did not arrive as it was hashed and is left out.")
            continue
        sighting = Sighting(
            kind=entry.kind,
            name=entry.name,
            h_raw=entry.h_raw,
            document=entry.document,
            fault="" if _is_readable(entry) else "unreadable_entry",
        )
        if sighting.key in by_key:
            doubles[sighting.key] += 1
            both = sha256("".join(sorted((by_key[sighting.key].h_raw, entry.h_raw))).encode())
            by_key[sighting.key] = msgspec.structs.replace(by_key[sighting.key], fault="duplicate_name", h_raw=both)
        else:
            by_key[sighting.key] = sighting
    return list(by_key.values()), problems


def touched(known: Mapping[Key, KnownEntry], sightings: Sequence[Sighting], kinds: Iterable[str]) -> set[Key]:
    """The keys of everything that is not as it was: new, changed, gone or back."""
    seen = {sighting.key: sighting for sighting in sightings}
    found = {
        key
        for key, sighting in seen.items()
        if (before := known.get(key)) is None or before.is_missing or before.current_hash != sighting.h_raw
    }
    listed = set(kinds)
    return found | {
        key for key, entry in known.items() if key not in seen and key[0] in listed and not entry.is_missing
    }


def judge(
    *,
    known: Mapping[Key, KnownEntry],
    sightings: Sequence[Sighting],
    server: bytes | None,
    concerned: set[Key],
    found: Found,
    auto_approve: AutoApprove,
    quarantine_from: Severity,
    other_names: Mapping[str, Iterable[str]],
) -> Judgement:
    """The outcome for the `concerned` keys (`touched`), and for the server where its document differs. A change of an entry
    from `quarantine_from` on takes it out."""
    seen = {sighting.key: sighting for sighting in sightings if sighting.key in concerned}
    changes = _changes(known, seen, server, concerned, found, other_names)
    judged: list[EntryJudgement] = []
    before = known.get(("server", ""))
    resets = False
    if server is not None and (before is None or before.current_hash != sha256(server)):
        of_server = _server(before, server, changes.get(("server", "")), found, auto_approve)
        resets = of_server.loses_approval
        judged.append(msgspec.structs.replace(of_server, loses_approval=False))
    known_kinds = {key[0] for key in known}
    # Kinds of which nothing was known: their entries are a review and no changes.
    first = frozenset(key[0] for key in concerned if key[0] not in known_kinds)
    known_now = {key: _without_approval(entry) for key, entry in known.items()} if resets else known
    for key in sorted(concerned):
        if sighting := seen.get(key):
            judged.append(
                _declared(
                    known_now.get(key),
                    sighting,
                    changes.get(key),
                    found,
                    auto_approve,
                    quarantine_from,
                    is_first=key[0] in first,
                )
            )
        else:
            judged.append(_gone(known_now[key], changes.get(key), quarantine_from))
    if resets:
        done = {entry.key for entry in judged}
        judged = [
            msgspec.structs.replace(entry, loses_approval=True) if entry.key in known else entry for entry in judged
        ]
        judged[0] = msgspec.structs.replace(judged[0], loses_approval=False)
        judged += [
            EntryJudgement(key=entry.key, loses_approval=True)
            for entry in known.values()
            if entry.kind != "server" and entry.key not in done
        ]
    return Judgement(tuple(judged))


# --- Comparing --------------------------------------------------------------------------------------------------------


def _changes(
    known: Mapping[Key, KnownEntry],
    seen: Mapping[Key, Sighting],
    server: bytes | None,
    concerned: set[Key],
    found: Found,
    other_names: Mapping[str, Iterable[str]],
) -> dict[Key, Change]:
    """The differences from what was approved. Only what is concerned takes part: the rest is as it was."""
    readable = [sighting for sighting in seen.values() if not sighting.is_blocked]
    pinned = [known[key] for key in concerned if key in known and known[key].approved_document is not None]
    server_before = known.get(("server", ""))
    server_pinned = server_before.approved_document if server_before else None
    baseline = observe(description(server_pinned or server, [declared(entry) for entry in pinned]))
    baseline = _with_known_findings(baseline, pinned, server_before)
    own = [entry.name for entry in known.values() if entry.kind == "tool" and not entry.is_missing]
    now = description(server or server_pinned, [declared(sighting) for sighting in readable])
    names = {"": [name for name in own if ("tool", name) not in concerned or ("tool", name) in seen], **other_names}
    by_hash_after = {(sighting.kind, sighting.h_raw): sighting.key for sighting in readable}
    by_hash_before = {(entry.kind, entry.approved_hash): entry.key for entry in pinned}
    changes: dict[Key, Change] = {}
    for change in diff(baseline, now, _unseen_server_findings(found, server_before), names):
        if change.kind == "server":
            changes["server", ""] = change
        elif change.hash_after:
            changes[by_hash_after[change.kind, change.hash_after]] = change
        elif change.hash_before:
            changes[by_hash_before[change.kind, change.hash_before]] = change
    return changes


def declared(entry: KnownEntry | Sighting) -> Declared:
    """The object behind an entry that is approved or was sighted."""
    document = entry.document if isinstance(entry, Sighting) else entry.approved_document
    return Declared(entry.kind, entry.name, parsed(document or b"{}"))


def _with_known_findings(baseline: Baseline, pinned: Sequence[KnownEntry], server: KnownEntry | None) -> Baseline:
    seen = {entry.key: entry.approved_findings for entry in pinned}
    return msgspec.structs.replace(
        baseline,
        entries=tuple(
            msgspec.structs.replace(entry, known_findings=seen.get((entry.kind, entry.name), ()))
            for entry in baseline.entries
        ),
    )


def _unseen_server_findings(found: Found, server: KnownEntry | None) -> list[Any]:
    """All findings but those in the server's texts that whoever approved it has seen."""
    seen = set(server.approved_findings) if server else set()
    kept = {one.rule_id + one.pointer for one in found.of("server", "") if one.key in seen}
    return [
        one
        for one in found.raw
        if not one.path.startswith("/initialize") or one.rule_id + one.path.removeprefix("/initialize") not in kept
    ]


# --- Deciding ---------------------------------------------------------------------------------------------------------


def _declared(
    before: KnownEntry | None,
    sighting: Sighting,
    change: Change | None,
    found: Found,
    auto_approve: AutoApprove,
    quarantine_from: Severity,
    *,
    is_first: bool,
) -> EntryJudgement:
    """One entry that the server declares."""
    value = {} if sighting.is_blocked else parsed(sighting.document)
    reasons = _reasons(sighting, value, change)
    facts = _facts(sighting, value, found, reasons)
    if before is not None and before.approved_hash:
        return _changed(before, sighting, change, facts, reasons, quarantine_from)
    approval = _approval(sighting, reasons, found.of(*sighting.key), auto_approve)
    draft = None
    if not is_first and (before is None or before.is_missing):
        draft = _draft(change, sighting, reasons, before=None, status="approved" if approval else "open")
        if sighting.kind == "resource" and draft.severity < QUARANTINE_FROM:
            draft = None  # Resources come and go; they are an inventory.
    return EntryJudgement(
        key=sighting.key, sighting=sighting, is_new=before is None, approval=approval, change=draft, **facts
    )


def _changed(
    before: KnownEntry,
    sighting: Sighting,
    change: Change | None,
    facts: dict[str, Any],
    reasons: Sequence[Reason],
    quarantine_from: Severity,
) -> EntryJudgement:
    """One entry that was approved once and is declared now."""
    state = state_of(
        approved_hash=before.approved_hash,
        tolerated=before.tolerated,
        current_hash=sighting.h_raw,
        is_disabled=False,
        is_missing=False,
        is_blocked=sighting.is_blocked,
    )
    if state is State.APPROVED:
        return EntryJudgement(key=sighting.key, sighting=sighting, is_back=True, **facts)
    severity = max((reason.severity for reason in reasons), default=Severity.CRITICAL)
    tolerates = severity < quarantine_from or sighting.kind == "resource"
    draft = _draft(change, sighting, reasons, before=before, status="tolerated" if tolerates else "open")
    return EntryJudgement(key=sighting.key, sighting=sighting, tolerates=tolerates, change=draft, **facts)


def _gone(before: KnownEntry, change: Change | None, quarantine_from: Severity) -> EntryJudgement:
    """One entry that the server no longer declares. One that became another name is told there."""
    if change is None or not before.approved_hash or before.kind == "resource":
        return EntryJudgement(key=before.key)
    return EntryJudgement(
        key=before.key,
        change=ChangeDraft(
            code=change.code,
            severity=change.severity,
            reasons=change.reasons,
            status="open" if change.severity >= quarantine_from else "tolerated",
            before_hash=before.approved_hash,
            before_document=before.approved_document,
        ),
    )


def _server(
    before: KnownEntry | None, document: bytes, change: Change | None, found: Found, auto_approve: AutoApprove
) -> EntryJudgement:
    """The server itself. Its first description is accepted, unless the rules find something in its instructions."""
    sighting = Sighting(kind="server", name="", h_raw=sha256(document), document=document)
    value = parsed(document)
    findings = tuple(found.of("server", ""))
    facts: dict[str, Any] = {"title": title_of("server", value), "findings": findings, "h_sem": sighting.h_raw}
    if before is None or not before.approved_hash:
        accepted = auto_approve == "all" or not findings
        return EntryJudgement(
            key=sighting.key,
            sighting=sighting,
            is_new=before is None,
            approval=("auto_approved" if auto_approve == "all" and findings else "first") if accepted else "",
            **facts,
        )
    if change is None or sighting.h_raw in (before.approved_hash, *before.tolerated):
        return EntryJudgement(key=sighting.key, sighting=sighting, is_back=True, tolerates=change is None, **facts)
    is_moved = any(reason.code == "origin_changed" for reason in change.reasons)
    follows = is_moved and auto_approve == "all"
    tolerates = change.severity < QUARANTINE_FROM and not follows
    status: Any = "approved" if follows else "tolerated" if tolerates else "open"
    return EntryJudgement(
        key=sighting.key,
        sighting=sighting,
        approval="auto_approved" if follows else "",
        tolerates=tolerates,
        loses_approval=is_moved and not follows,
        change=_draft(change, sighting, change.reasons, before=before, status=status),
        **facts,
    )


def _approval(
    sighting: Sighting, reasons: Sequence[Reason], findings: Sequence[EntryFinding], auto_approve: AutoApprove
) -> Decision:
    """Whether a new entry needs nobody."""
    if sighting.is_blocked:
        return ""
    if auto_approve == "all" or sighting.kind == "resource":
        return "auto_approved"
    is_clean = not findings and all(reason.severity < QUARANTINE_FROM for reason in reasons)
    if sighting.kind == "tool":
        is_clean = is_clean and VALID.fullmatch(sighting.name) is not None
        return "auto_approved" if is_clean and auto_approve == "clean" else ""
    return "auto_approved" if is_clean else ""


def _draft(
    change: Change | None,
    sighting: Sighting,
    reasons: Sequence[Reason],
    *,
    before: KnownEntry | None,
    status: Literal["open", "approved", "tolerated"],
) -> ChangeDraft:
    # What `rules.pinning` has no change for could not be pinned.
    reasons = reasons or [Reason("unreadable_entry")]
    texts = [field for field in change.fields if field.name == "description" and field.before] if change else []
    return ChangeDraft(
        code=reasons[0].code,
        severity=max(reason.severity for reason in reasons),
        reasons=tuple(reasons[:MAX_REASONS]),
        status=status,
        similarity=round(texts[0].similarity, 3) if texts else None,
        renamed_from=change.renamed_from if change else "",
        before_hash=before.approved_hash if before else "",
        after_hash=sighting.h_raw,
        before_document=before.approved_document if before else None,
        after_document=sighting.document,
    )


def _reasons(sighting: Sighting, value: dict[str, Any], change: Change | None) -> list[Reason]:
    """Why an entry needs a look, the worst first."""
    if sighting.is_blocked:
        return [Reason(sighting.fault)]
    reasons = [*change.reasons] if change else []
    if sighting.kind == "tool" and (change is None or not change.hash_before):
        for member in ("inputSchema", "outputSchema"):
            if member in value:
                reasons += dangers(_expanded(value[member]), f"/{member}")
    return sorted(dict.fromkeys(reasons), key=lambda reason: -reason.severity)


def _facts(sighting: Sighting, value: dict[str, Any], found: Found, reasons: Sequence[Reason]) -> dict[str, Any]:
    """What is kept about the definition that is served now."""
    is_tool = sighting.kind == "tool"
    rows = [reason_row(reason) for reason in reasons[:MAX_REASONS] if reason.code not in ("tool_added", "entry_added")]
    if sighting.kind == "tool" and not VALID.fullmatch(sighting.name):
        rows.append({"code": UNUSUAL_NAME, "severity": "medium", "pointer": "/name", "detail": ""})
    capabilities = tuple(str(one) for one in capabilities_of(value)) if is_tool else ()
    return {
        "h_sem": _semantic_hash(value, sighting.h_raw) if is_tool else sighting.h_raw,
        "title": title_of(sighting.kind, value),
        "capabilities": capabilities,
        "risk": risk_of(capabilities),
        "findings": tuple(found.of(*sighting.key)),
        "reasons": tuple(rows),
    }


def reason_row(reason: Reason) -> dict[str, Any]:
    """For a JSON column."""
    return {
        "code": reason.code,
        "severity": SEVERITY_OF[reason.code].word,
        "pointer": reason.pointer[:500],
        "detail": reason.detail[:500].replace("\x00", "\ufffd"),
    }


def _without_approval(entry: KnownEntry) -> KnownEntry:
    if entry.kind == "server":
        return entry
    return msgspec.structs.replace(entry, approved_hash="", approved_document=None, tolerated=())


def _semantic_hash(tool: dict[str, Any], h_raw: str) -> str:
    """The hash that notation does not change; `h_raw` where the schemas cannot be expanded."""
    try:
        return hash_json({key: expanded(value) if key in SCHEMA_MEMBERS else value for key, value in tool.items()})
    except (NotExpandable, NotCanonical):
        return h_raw


def _expanded(schema: Any) -> Any:
    try:
        return expanded(schema)
    except NotExpandable:
        return schema


def _is_readable(entry: ObservedEntry) -> bool:
    try:
        value = parsed(entry.document)
    except (ValueError, RecursionError):
        return False
    return (
        type(value) is dict
        and value.get(IDENTITY[entry.kind]) == entry.name
        and len(entry.name) <= MAX_NAME_CHARS
        and len(value) <= MAX_MEMBERS
        and len(entry.document) <= MAX_ENTRY_BYTES
    )
