"""Call records for tests of what carries them."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec

from proxies.contract import CallRecord
from rules.model import Action, Confidence, Finding, Severity, Target

_numbers = count(1)

FINDING = Finding(
    rule_id="T-1",
    pack="tests",
    title="A test rule",
    category="test/any",
    severity=Severity.HIGH,
    confidence=Confidence.HIGH,
    score=100,
    action=Action.BLOCK,
    target=Target.PROMPT,
    path="/messages/0/content",
    start=0,
    end=4,
    view="raw",
    evidence="test",
)

_PLAIN = CallRecord(
    id="",
    proxy_id="prx_a",
    snapshot_version=1,
    started_at=1_790_000_000.0,
    duration_ms=1.0,
    added_ms=0.5,
    method="POST",
    path="/v1/chat/completions",
    protocol="openai.chat",
    operation="echo",
    client_ip="127.0.0.1",
    client_agent="tests",
    principal_id="key_1",
    principal_name="tests",
    status=200,
    outcome="allowed",
    action=Action.ALLOW,
    error_code="",
    reason="",
    request_bytes=100,
    response_bytes=100,
    streamed=False,
    truncated=False,
    findings=(),
    usage=None,
    timings_ms={"inspect_request": 0.1},
)


def plain_call(**fields: Any) -> CallRecord:
    """A call without findings, with an id of its own."""
    return msgspec.structs.replace(_PLAIN, id=f"call_{next(_numbers):06}", **fields)


def blocked_call(**fields: Any) -> CallRecord:
    """A call that a rule blocked."""
    defaults: dict[str, Any] = {"outcome": "blocked", "status": 403, "action": Action.BLOCK, "findings": (FINDING,)}
    return plain_call(**{**defaults, **fields})
