"""What the API and the pages say about policies and packs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.policies import rule_words


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """One policy. `severity` is the worst that its rules can report; `active` is false when a pack is missing."""

    name: str
    title: str
    description: str
    type: str
    packs: list[str]
    enforcement: str
    severity: str
    rule_count: int
    """Detection rules, those of the packs and the policy's own."""
    condition_count: int
    """Conditional rules."""
    detection_count: int
    """Detection rules of its own."""
    active: bool
    shipped: bool
    version: int | None
    """The version in force of a policy that was made here."""


class StoredView(msgspec.Struct, frozen=True, kw_only=True):
    """A policy made here as the list shows it; `version` is null until one is published."""

    name: str
    type: str
    version: int | None
    draft_version: int | None
    draft_by: str
    draft_title: str
    draft_description: str
    updated_at: datetime
    created_by: str


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a policy. `status` is draft, published or retired."""

    number: int
    status: str
    author: str
    note: str
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None


class DocumentView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a policy with its document as JSON text. `revision` counts the changes of a draft."""

    name: str
    shipped: bool
    version: int | None
    status: str
    revision: int
    text: str


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with its document, as the API returns it."""

    name: str
    shipped: bool
    version: int | None
    status: str
    revision: int
    policy: Any


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a document, and where (JSON pointer)."""

    pointer: str
    reason: str


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a document can be published; `remarks` have no effect and harm nobody."""

    valid: bool
    problems: list[ProblemView]
    remarks: list[ProblemView]


Note = Annotated[str, Meta(max_length=1_000)]


class WritePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy document to be kept as a draft; with `publish` it comes into force at once."""

    policy: dict[str, Any]
    note: Note = ""
    revision: int | None = None
    """The revision of the draft that was changed; without it the draft is overwritten."""
    publish: bool = False


class PublishPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which draft to put in force; an outdated revision is refused."""

    revision: int | None = None
    note: Note = ""


class RollBackPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which earlier version to put in force again."""

    version: Annotated[int, Meta(ge=1)]
    note: Note = ""


class CheckPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document to be checked."""

    policy: dict[str, Any]


class ImportPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of a policy file in any known dialect; with `save` the outcome becomes a draft."""

    content: Annotated[str, Meta(max_length=1_048_576)]
    name: Annotated[str, Meta(max_length=200)] = ""
    """The name of the file, for a policy that names itself nowhere."""
    save: bool = False
    save_as: Annotated[str, Meta(max_length=60)] = ""
    """The name under which it is kept, in the place of its own."""


class ImportNote(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not in the imported policy as it was in the file; `kind` is dropped or changed."""

    kind: str
    pointer: str
    reason: str


class ImportView(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an import."""

    dialect: str
    policy: Any
    notes: list[ImportNote]
    problems: list[ProblemView]
    saved: bool


class CompiledView(msgspec.Struct, frozen=True, kw_only=True):
    """The distinct patterns of a policy: declared by its packs, and in its compiled ruleset (null: not yet compiled)."""

    name: str
    active: bool
    declared: int
    compiled: int | None
    problem: str = ""
    """Why the policy cannot be put in force."""


class AnalyzePatterns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Patterns to be checked."""

    patterns: Annotated[list[Annotated[str, Meta(max_length=2_000)]], Meta(min_length=1, max_length=200)]


class PatternView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a pattern can be used in a rule."""

    pattern: str
    valid: bool
    reason: str
    groups: int


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two versions."""

    kind: str
    pointer: str
    label: str
    before: str
    after: str


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a pack, with the examples that are its tests."""

    id: str
    rev: int
    title: str
    category: str
    severity: str
    confidence: str
    score: int
    action: str
    targets: list[str]
    direction: list[str]
    views: list[str]
    validators: list[str]
    patterns: list[str]
    """The anchors."""
    condition: list[rule_words.Part]
    """When it hits, in words: every part must hold."""
    owasp_llm: list[str]
    owasp_mcp: list[str]
    owasp_asi: list[str]
    atlas: list[str]
    cwe: list[str]
    examples_match: list[str]
    examples_no_match: list[str]
    false_positives: str
    references: list[str]


class PackSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One pack without its rules."""

    name: str
    version: str
    title: str
    description: str
    rule_count: int
    policies: list[str]


class PackView(msgspec.Struct, frozen=True, kw_only=True):
    """One pack with its rules."""

    name: str
    version: str
    title: str
    description: str
    rule_count: int
    policies: list[str]
    rules: list[RuleView]


class GlobalPoliciesView(msgspec.Struct, frozen=True, kw_only=True):
    """The policies of all proxies that name none; `updated_at` is null until somebody names some."""

    policy_names: list[str]
    updated_at: datetime | None
    updated_by: str


class PutGlobalPolicies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Other policies for all proxies."""

    policy_names: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]


class TagPoliciesView(msgspec.Struct, frozen=True, kw_only=True):
    """The policies of all proxies with a tag, and how many proxies have it."""

    tag: str
    policy_names: list[str]
    proxies: int
    updated_at: datetime | None
    updated_by: str


class PutTagPolicies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Other policies for the proxies with a tag; none take the tag off the list."""

    tag: Annotated[str, Meta(min_length=1, max_length=40)]
    policy_names: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]
