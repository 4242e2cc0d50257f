"""What the API and the pages say about trying policies: evaluations and replays."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.guidelines.schemas import CitedPassage
from rules.assessment import SecurityAssessment
from rules.context_firewall import ContextInput
from rules.policy import ContextFirewall

MAX_TEXT_CHARS = 200_000

TargetWord = Literal[
    "prompt",
    "system_prompt",
    "completion",
    "tool_name",
    "tool_description",
    "param_description",
    "schema",
    "server_instructions",
    "tool_args",
    "tool_result",
    "resource",
    "document",
    "agent_message",
    "elicitation",
    "sampling",
    "error",
]


class Evaluate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text, or a whole LLM or MCP message, and the policies that shall judge it.

    `document` is a policy that need not be saved; without it `policy_names` are asked, and without those the standard
    policy of the kind of message.
    """

    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None = None
    request: dict[str, Any] | None = None
    policy_names: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=20)] = []
    document: dict[str, Any] | None = None
    direction: Literal["request", "response"] = "request"
    """Which way a `text` travels; a whole message says so itself."""
    target: TargetWord = "prompt"
    """What kind of text a `text` is."""
    model: Annotated[str, Meta(max_length=200)] = ""
    """Where the message does not name its model."""
    client: Annotated[str, Meta(max_length=200)] = ""
    """Name of the API key that it would come with."""
    client_ip: Annotated[str, Meta(max_length=64)] = ""
    headers: Annotated[
        dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=2_000)]], Meta(max_length=50)
    ] = {}
    at: datetime | None = None
    """When it would come, with a time zone; now without."""
    context: ContextInput | None = None
    """The retrieved texts that would come with it: what a whole request says in its member `context`."""
    context_firewall: ContextFirewall | None = None
    """A context firewall to try, in place of those of the policies and of the settings."""
    log_only: bool = False


class ScanText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text to be assessed by the standard policy for language models."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]


class TestPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy document and texts to try it on."""

    __test__ = False

    policy: dict[str, Any]
    test_content: Annotated[list[Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]], Meta(min_length=1, max_length=50)]
    target: TargetWord = "prompt"
    direction: Literal["request", "response"] = "request"


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided and by what. `would_action` is what had happened if nothing were set to log only."""

    action: str
    would_action: str
    score: int
    risk: str
    reason: str
    source: str
    rule_id: str
    policy: str
    policy_version: int
    threshold: int
    tags: list[str]
    status: int


class EvaluatedFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One hit, with the action that it has in effect. Offsets are characters of the text at `path`."""

    rule_id: str
    pack: str
    title: str
    category: str
    severity: str
    confidence: str
    score: int
    action: str
    target: str
    path: str
    start: int
    end: int
    view: str
    evidence: str


class TextView(msgspec.Struct, frozen=True, kw_only=True):
    """A derived view of a text: what is left when a disguise is taken off. `made` says which: `base64`, `rot13`, …"""

    name: str
    made: str
    text: str


class EvaluatedText(msgspec.Struct, frozen=True, kw_only=True):
    """One text of the message: as it is, as it would go on, and what else it can be read as."""

    target: str
    path: str
    text: str
    masked: str
    views: list[TextView]


class ContextJudge(msgspec.Struct, frozen=True, kw_only=True):
    """One context firewall and what it says. `name` is a policy, `settings`, or `tried`."""

    name: str
    allowed_origins: list[str]
    risk_threshold: int
    origin_allowed: bool


class ContextChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A retrieved text: the sum of the scores of the rules that hit it."""

    id: str
    score: int


class ContextView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the context beside a message. Without `firewalls` nothing checks it."""

    source: str
    firewalls: list[ContextJudge]
    chunks: list[ContextChunk]


class EvaluationView(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an evaluation. `took_ms` is the processor time of scan and verdict, once warm."""

    protocol: str
    direction: str
    policies: list[str]
    rule_count: int
    took_ms: float
    verdict: VerdictView
    assessment: SecurityAssessment
    findings: list[EvaluatedFinding]
    texts: list[EvaluatedText]
    unmaskable: str = ""
    """Where a value stands that must be masked and cannot be: a proxy refuses the request (422 `masking_failed`)."""
    context: ContextView | None = None
    """Where there is one."""
    guidelines: list[CitedPassage] = []
    """The passages of the company's guidelines that speak of the same things."""


class StartReplay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to replay: `source` is the draft or the version in force; without proxies, those that use the policy."""

    source: Literal["draft", "published"] = "draft"
    proxy_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=200)] = []
    days: Annotated[int, Meta(ge=1, le=90)] = 7
    limit: Annotated[int, Meta(ge=1, le=50_000)] = 10_000


class ReplayedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose verdict would be another one."""

    call_id: str
    proxy_id: str
    started_at: datetime
    operation: str
    before: str
    after: str
    rule_id: str
    reason: str


class ReplayedReason(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule of the draft would change, or (without a rule) what no rule of it stops any more; numbers of calls."""

    rule_id: str
    reason: str
    """That of one of the calls."""
    newly_blocked: int
    newly_allowed: int
    other: int


class UndecidedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose verdict depends on something that was not recorded: `missing` names the conditions that ask for it."""

    call_id: str
    proxy_id: str
    started_at: datetime
    operation: str
    before: str
    missing: list[str]


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and how far it is. `state` is running, done, cancelled or failed."""

    id: str
    policy: str
    source: str
    version: int | None
    state: str
    error: str
    days: int
    proxy_ids: list[str]
    started_by: str
    started_at: datetime
    finished_at: datetime | None
    total: int
    """Calls with recorded texts in that time, up to the limit."""
    done: int
    skipped: int
    """Calls that were refused for other reasons or failed: there is no verdict to compare with."""
    blocked_before: int
    blocked_after: int
    newly_blocked: int
    newly_allowed: int
    changed: int
    changes: list[ReplayedCall]
    """The first of them, newest first."""
    reasons: list[ReplayedReason]
    """All of them by the rule that decides under the draft, the most frequent first; at most 50 rules."""
    undecided: int
    """Calls whose verdict depends on something that was not recorded."""
    undecided_calls: list[UndecidedCall]
    """The first of them, newest first."""
    partial: int
    """Judged calls of which some texts found no room in the capture: rules could not read those."""
