"""What the API and the pages say about tools, changes and held calls (times are RFC 3339 in UTC)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Hash = Annotated[str, Meta(max_length=64)]
Comment = Annotated[str, Meta(max_length=2000)]
ToolName = Annotated[str, Meta(max_length=4096)]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of difference, or one remark about a new entry."""

    code: str
    severity: str
    pointer: str
    detail: str
    meaning: str


class DeclarationFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule finds in a declaration; the pointer leads to the text inside it."""

    rule_id: str
    pack: str
    title: str
    category: str
    severity: str
    pointer: str
    start: int
    end: int
    view: str
    evidence: str


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One declared tool, prompt, resource or template, or the server itself (kind `server`)."""

    id: str
    proxy_id: str
    proxy_name: str
    kind: str
    name: str
    description: str
    enabled: bool
    """Whether it passes now."""
    state: str
    risk: str
    capabilities: list[str]
    h_raw: str
    """Hash of what is served now: what an approval is bound to."""
    approved_hash: str
    version: int
    approved_by: str
    approved_at: datetime | None
    findings: list[DeclarationFinding]
    reasons: list[Reason]
    is_clean: bool
    """Whether nothing speaks against it: no finding, no remark that is high or critical."""
    discovered_at: datetime
    last_seen_at: datetime
    changed_at: datetime


class ProxyTools(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of one proxy."""

    proxy_id: str
    tools: list[EntryView]
    count: int


class SetTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enable or disable a tool. Enabling one that is pending or changed approves what is served now; with `h_raw` only if it
    still is what was seen."""

    enabled: bool
    h_raw: Hash = ""
    comment: Comment = ""


class SetTools(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enable or disable several tools."""

    tool_names: Annotated[list[ToolName], Meta(min_length=1, max_length=2000)]
    enabled: bool
    comment: Comment = ""


class SeenEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry, and the hash of the definition that was seen."""

    id: Annotated[str, Meta(max_length=40)]
    h_raw: Hash


class ApproveEntries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Approve these definitions; those that have changed meanwhile are left out and counted."""

    entries: Annotated[list[SeenEntry], Meta(min_length=1, max_length=5000)]
    comment: Comment = ""


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How many were changed; what could not be, by name, with why."""

    changed: int
    skipped: dict[str, str]


class UndoView(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that whoever made it can still take back."""

    id: str
    proxy_id: str
    entries: int
    made_at: datetime
    expires_at: datetime


class UndoneView(msgspec.Struct, frozen=True, kw_only=True):
    """What is as it was before."""

    proxy_id: str
    count: int
    names: list[str]


class Decide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision about a change, bound to the hash that was seen: `after_hash`, or `before_hash` of something that is gone."""

    h_raw: Hash
    comment: Comment = ""


class SeenChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change, and the hash that was seen: its `after_hash`, or the `before_hash` of something that is gone."""

    id: Annotated[str, Meta(max_length=40)]
    h_raw: Hash


class DecideChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One decision about several changes of a server."""

    changes: Annotated[list[SeenChange], Meta(min_length=1, max_length=500)]
    comment: Comment = ""


class RevertTo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make an older approved version the baseline again."""

    version: Annotated[int, Meta(ge=1)]
    comment: Comment = ""


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between what was approved and what is served."""

    id: str
    proxy_id: str
    proxy_name: str
    entry_id: str
    kind: str
    name: str
    type: str
    """`new_tool`, `removed_tool`, or the code of the reason that decided."""
    severity: str
    status: str
    reasons: list[Reason]
    findings: list[DeclarationFinding]
    similarity: float | None
    renamed_from: str
    before_hash: str
    after_hash: str
    version: int
    trigger: str
    detected_at: datetime
    decided_at: datetime | None
    decided_by: str
    comment: str


class ChangeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A change with both definitions."""

    change: ChangeView
    old: dict[str, Any] | None
    new: dict[str, Any] | None


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One approval."""

    version: int
    decision: str
    h_raw: str
    approved_at: datetime
    approved_by: str
    comment: str
    change_id: str


class BaselineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is approved of one entry."""

    id: str
    kind: str
    name: str
    state: str
    version: int
    h_raw: str
    approved_by: str
    approved_at: datetime | None


class BaselineView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is approved of one server, and one hash for it."""

    proxy_id: str
    root_hash: str
    server: dict[str, Any] | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    next_discovery_at: datetime | None
    entries: list[BaselineEntry]


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """One server as it stands."""

    proxy_id: str
    proxy_name: str
    name: str
    version: str
    protocol: str
    state: str
    transport: str
    origin: str
    entry_id: str
    tools: int
    prompts: int
    resources: int
    templates: int
    pending: int
    changed: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    last_trigger: str
    discovered_at: datetime | None
    next_discovery_at: datetime | None
    discovering_since_at: datetime | None
    failure: str
    problems: list[str]


class ToolStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool was used within the period."""

    tool: str
    calls: int
    errors: int
    blocked: int
    error_rate: float
    avg_duration_ms: float | None
    avg_result_bytes: float | None
    argument_keys: list[str]
    last_used_at: datetime | None


class ProxyToolStats(msgspec.Struct, frozen=True, kw_only=True):
    """Use of the tools of one proxy."""

    proxy_id: str
    time_range_hours: int
    total: int
    enabled: int
    disabled: int
    pending: int
    changed: int
    tools: list[ToolStats]


class OverrideView(msgspec.Struct, frozen=True, kw_only=True):
    """What one API key may do differently with one tool."""

    key_id: str
    tool: str
    enabled: bool
    set_at: datetime
    set_by: str


class SetOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enable or disable a tool for one API key. It never lets a definition pass that is not approved."""

    enabled: bool


class HeldCallView(msgspec.Struct, frozen=True, kw_only=True):
    """A call that waits, or waited, for a person. `arguments` is exactly what would be sent; empty once it is decided."""

    id: str
    proxy_id: str
    proxy_name: str
    principal_id: str
    principal_name: str
    tool: str
    arguments: str
    digest: str
    policy: str
    policy_version: int
    """0 for a shipped policy."""
    reason: str
    status: str
    held_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str
    comment: str

    def __repr__(self) -> str:
        return f"<HeldCallView {self.id} {self.status}>"


class ApprovalsView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that waits for a person."""

    held_calls: list[HeldCallView]
    changes: list[ChangeView]
    reviews: dict[str, int]
    """By proxy how many entries wait that were never looked at."""


class DecideCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision about a held call, bound to its digest."""

    digest: Hash
    comment: Comment = ""
