"""What a worker reports of calls: who, what, verdict, timings, and what was inspected, masked."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from proxies.contract.mcp import ToolUse
from rules.model import NO_DECISION, Action, Decision, Finding, Target

Outcome = Literal["allowed", "blocked", "refused", "upstream_error", "client_closed", "failed"]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call, normalised (LLM-USE-1). `input_tokens` includes cached reads and writes."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    source: Literal["reported", "estimated"] = "reported"


class TextMark(msgspec.Struct, frozen=True, gc=False):
    """Where a finding lies in a captured text, in characters of that text."""

    start: int
    end: int
    rule_id: str


class CapturedText(msgspec.Struct, frozen=True, gc=False):
    """One text that was inspected, as it may be stored and shown: what is or looks like a secret is masked."""

    direction: Literal["request", "response"]
    target: Target
    path: str
    """RFC 6901 JSON pointer inside the message."""
    text: str
    offset: int = 0
    """How many characters of the inspected text precede this part of it."""
    truncated: bool = False
    """Whether something before or after this part was left out."""
    marks: tuple[TextMark, ...] = ()


class RecordedTool(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A tool that was called, or that a model asked for. Its arguments that are texts stand among the captured texts."""

    direction: Literal["request", "response"]
    name: str
    path: str
    """JSON pointer of the call inside its message."""
    values: dict[str, Any] = {}
    """By JSON pointer inside the arguments what is no text: numbers, truth values, null, and empty lists and objects."""
    is_whole: bool = True
    """Whether `values` has all of them."""


class RecordedFacts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What conditions ask about a call and its captured texts do not tell: numbers and names, no values that may be secret."""

    message_count: int = 0
    role_counts: dict[str, int] = {}
    has_all_roles: bool = True
    token_estimate: int = 0
    headers: dict[str, str] = {}
    """Of `header_names` those that came."""
    header_names: tuple[str, ...] = ()
    """The headers whose presence and value are known."""
    tools: tuple[RecordedTool, ...] = ()
    has_all_tools: bool = True
    """Whether there was room for all tools of the request, and of its answer where it came whole."""


class Redaction(msgspec.Struct, frozen=True, gc=False):
    """How many values of one type one rule masked in one direction of a call (SLG-ROAD-4)."""

    type: str
    """The word in the placeholder, as `EMAIL`."""
    count: int
    direction: Literal["request", "response"]
    policy: str
    """The policy that decided, as the verdict names it."""
    rule_id: str
    restored: int = 0
    """How often values of this kind were put back into the answer; those of earlier calls of its conversation may be all."""


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One finished call through a proxy: who, what, verdict, timings. The id makes ingestion idempotent."""

    id: str
    proxy_id: str
    snapshot_version: int
    started_at: float
    """Unix seconds."""
    duration_ms: float
    added_ms: float
    """Time spent in the gateway itself: the duration without the wait for the upstream."""
    method: str
    path: str
    protocol: str
    """`openai.chat`, `openai.completions`, `openai.responses`, `openai.realtime`, `anthropic.messages`, `gemini.generate`,
    `ollama.chat`, `ollama.generate`, `ollama.embed`, `ollama.show`, `bedrock.converse`, `bedrock.invoke`, `bedrock.llama`,
    `bedrock.titan`, `llm.models`, `mcp.legacy`, `mcp.modern`, `mcp.sse` and `mcp.websocket` for a connection that carries
    calls, or `http` before that is known."""
    operation: str
    """Model for LLM calls, JSON-RPC method (and tool) for MCP."""
    client_ip: str
    client_agent: str
    """User-Agent, at most 200 characters."""
    principal_id: str
    principal_name: str
    status: int
    outcome: Outcome
    action: Action
    error_code: str
    reason: str
    request_bytes: int
    response_bytes: int
    streamed: bool
    truncated: bool
    findings: tuple[Finding, ...]
    usage: Usage | None
    timings_ms: dict[str, float]
    """Milliseconds per pipeline step, in the order in which they ran."""
    redactions: tuple[Redaction, ...] = ()
    decision: Decision = NO_DECISION
    """Why the verdict is what it is."""
    tool: ToolUse | None = None
    """For a `tools/call`."""
    texts_omitted: int = 0
    """Texts that were inspected and found no room in `texts`."""
    facts: RecordedFacts | None = None
    """What conditions may ask about, where texts are captured."""
    texts: tuple[CapturedText, ...] = ()
    """What was inspected, masked. It stays the last field: the journal cuts it off under pressure."""
