"""The one object that walks the chain: who, what, where, findings, verdict, timings."""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import Container, Sequence
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple, Protocol

import msgspec

from proxies.capture import Direction, TextCapture
from proxies.contract import CallRecord, CapturedText, Outcome, RecordedFacts, Redaction, ToolUse, Usage
from proxies.conversation import RecentFindings
from proxies.principal import ANONYMOUS
from proxies.recorded_facts import CallNotes
from proxies.runtime import ProxyRuntime
from proxies.shown_places import hidden_names, shown_address, shown_model, shown_place
from proxies.transport.http1_server import Request, Response
from proxies.transport.sse import SSEEvent, encode_event
from rules.context_firewall import Citation
from rules.facts import Facts
from rules.masking.placeholders import LITERAL_LABEL
from rules.masking.session import Masked, MaskingSession
from rules.model import ALLOWED, Finding, Verdict
from rules.redact import OPAQUE_MARGIN_CHARS, masked_name

logger = logging.getLogger(__name__)

_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _BASE32 for low in _BASE32]
_random = random.Random(os.urandom(32))  # noqa: S311 - It names calls; nothing is guarded by such a name.
MAX_AGENT_CHARACTERS = 200
MAX_PATH_CHARACTERS = 500
MAX_RECORDED_FINDINGS = 1_000
"""Findings kept with one call; every value that is masked is one, and a message may hold thousands."""
REDACTIONS_HEADER = "x-ostiary-redactions"
"""How many values were masked in this call by the time its answer begins (SLG-RESP-2)."""


class Recorder(Protocol):
    """Where finished calls go; the channel to the console."""

    def record(self, call: CallRecord) -> None:
        """Take the record. One with findings is in the kernel's hands when this returns."""


def call_id(now: float | None = None) -> str:
    """`call_` and a ULID: sortable by time, unique across workers."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    pair, draw = _PAIRS, _random.getrandbits
    return (
        f"{_time_part(milliseconds >> 10)}{pair[milliseconds & 1023]}"
        f"{pair[draw(10)]}{pair[draw(10)]}{pair[draw(10)]}{pair[draw(10)]}"
        f"{pair[draw(10)]}{pair[draw(10)]}{pair[draw(10)]}{pair[draw(10)]}"
    )


@lru_cache(maxsize=8)
def _time_part(seconds: int) -> str:
    """How the ids of one second (of 1,024 ms) begin."""
    return "call_" + "".join([_PAIRS[(seconds >> shift) & 1023] for shift in (30, 20, 10, 0)])


@lru_cache(maxsize=1024)
def _name(text: str, longest: int) -> str:
    """The beginning of a name that the client chose, without what could be a credential. The same ones come again and again."""
    return masked_name(text[: longest + OPAQUE_MARGIN_CHARS])[:longest]


class Judged(NamedTuple):
    """What a verdict made of the kinds of findings that it was about."""

    found: list[Finding]
    """The list that was judged."""
    verdict: Verdict
    kinds: dict[tuple[object, ...], Finding | None]
    """By what a verdict asks about a finding, one of that kind with its action in effect; None where a policy switched its
    rule off. Empty until more is found: most calls are judged once."""


class Exchange:
    """One call from its head to its record."""

    __slots__ = (
        "_capture",
        "_lap_at",
        "_received_at",
        "_recorded",
        "_recorder",
        "added_findings",
        "citations",
        "conversation",
        "earlier",
        "early",
        "error_code",
        "extra_headers",
        "facts",
        "found",
        "hold",
        "id",
        "judged",
        "key_digest",
        "masking",
        "may_hold",
        "may_repeat",
        "notes",
        "operation",
        "outcome",
        "principal",
        "protection",
        "protocol",
        "proxy",
        "reason",
        "redactions",
        "request",
        "request_bytes",
        "response",
        "response_bytes",
        "restored",
        "rpc_id",
        "started_at",
        "status",
        "streamed",
        "streamed_from",
        "timings_ms",
        "tool",
        "truncated",
        "usage",
        "values_found",
        "verdict",
        "waited_seconds",
    )

    def __init__(self, proxy: ProxyRuntime, request: Request, response: Response, recorder: Recorder) -> None:
        self.proxy = proxy
        self.request = request
        self.response = response
        self._recorder = recorder
        self._recorded = False
        self.early = False
        """Whether an event stream has begun to which nothing of the answer has been written yet."""
        self.started_at = time.time()
        self.id = call_id(self.started_at)
        self._received_at = self._lap_at = request.received_at
        self.principal = ANONYMOUS
        self.key_digest = ""
        """Digest of the key that the principal is known by; empty for nobody."""
        self.protocol = "http"
        self.operation = ""
        self.protection = proxy.protection
        """The rules and policies that apply: the proxy's, until authentication finds that the key has its own."""
        self.found: list[Finding] = []
        """What the rules found in the message that is judged now, before any policy changed it."""
        self.judged: Judged | None = None
        self.added_findings: list[Finding] = []
        """The findings for the record, with the action that they have in effect."""
        self.values_found: dict[tuple[str, str, str], int] = {}
        """How many values to mask each rule found in each text of that message, by rule, kind and place of the text."""
        self.facts: Facts | None = None
        """What the conditions of policies asked about the request; tool calls of its answer are judged with it."""
        self.conversation: RecentFindings | None = None
        """What was found earlier in the session, where the protocol has one."""
        self.earlier: RecentFindings | None = None
        """What was found in the calls that this one continues."""
        self.citations: Sequence[Citation] = ()
        """The retrieved texts that the request named and that were let through."""
        self._capture: TextCapture | None = None
        self.notes: CallNotes | None = None
        """What its record tells about the call besides its texts."""
        self.masking: MaskingSession | None = None
        """What was masked towards the upstream, to be put back into its answer."""
        self.may_repeat: Container[str] = frozenset()
        """The texts of the request, as they went on, that the answer repeats where its API says so."""
        self.redactions: dict[tuple[str, Direction, str], int] = {}
        """How many values were masked, by type, direction and rule."""
        self.restored: dict[Masked, int] = {}
        """How often each value was put back."""
        self.verdict: Verdict = ALLOWED
        self.may_hold = False
        """Whether the message that is judged now can wait for a person; a hold of any other one refuses it."""
        self.hold: Verdict | None = None
        """The verdict for which it has to wait."""
        self.usage: Usage | None = None
        self.tool: ToolUse | None = None
        """How a `tools/call` uses its tool."""
        self.rpc_id: int | str | None = None
        """JSON-RPC id that an answer, also a refusal, must carry; None while it is unknown and for other protocols."""
        self.outcome: Outcome = "allowed"
        self.error_code = ""
        self.reason = ""
        self.status = 0
        self.streamed = False
        self.streamed_from = sys.maxsize
        """How many of `found` came before the streamed answer."""
        self.truncated = False
        self.request_bytes = 0
        self.response_bytes = 0
        self.waited_seconds = 0.0
        """Time spent waiting for the client's body and for the upstream: not the gateway's own."""
        self.timings_ms: dict[str, float] = {}
        self.extra_headers: list[tuple[str, str]] = [("x-request-id", self.id)]
        """Sent with every answer: the request id, and CORS headers for an allowed browser origin."""

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.protocol} {self.operation} {self.outcome} {self.status}>"

    def lap(self, step: str, *, waiting: bool = False) -> None:
        """Close a step: the time since the last lap belongs to it. `waiting` time is not the gateway's own."""
        now = perf_counter()
        elapsed = now - self._lap_at
        self._lap_at = now
        timings = self.timings_ms
        timings[step] = timings.get(step, 0.0) + elapsed * 1000
        if waiting:
            self.waited_seconds += elapsed

    def skip_wait(self) -> None:
        """The time since the last lap belongs to nobody: the caller said nothing and waited for nothing."""
        now = perf_counter()
        self._received_at += now - self._lap_at
        self._lap_at = now

    def fork(self, operation: str) -> Exchange:
        """A call of its own, judged and recorded apart: one message of a stream that stays open for hours."""
        part = Exchange(self.proxy, self.request, self.response, self._recorder)
        part._received_at = part._lap_at = perf_counter()
        part.principal = self.principal
        part.key_digest = self.key_digest
        part.protection = self.protection
        part.conversation = self.conversation
        part.protocol = self.protocol
        part.operation = operation
        part.status = self.status
        part.streamed = True
        return part

    @property
    def capture(self) -> TextCapture | None:
        """Where to note what is inspected, for the record; None where the proxy keeps nothing."""
        if self._capture is None and self.proxy.config.capture != "none":
            self._capture = TextCapture()
        return self._capture

    @property
    def restores_tool_arguments(self) -> bool:
        """Whether values go back into the arguments of tool calls that the caller carries out itself."""
        return self.protection.policies.restores_tool_arguments

    def note_redaction(self, label: str, direction: Direction, rule_id: str) -> None:
        """Count one masked value."""
        key = (label, direction, rule_id)
        self.redactions[key] = self.redactions.get(key, 0) + 1

    # --- Answers --------------------------------------------------------------------------------------------------

    def answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        """Record the call, then send a complete answer: what the client saw complete is never lost."""
        if self.early:
            self.response_bytes += len(body)
            self.record()
            self.response.conclude(body, encode_event(SSEEvent("message", body.decode(), None, None)) if body else b"")
            return
        self.status = status
        self.response_bytes = len(body)
        self.record()
        self.response.send(status, [*headers, *self._own_headers()], body)

    def start_answer(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin a streamed answer; follow with `write` and `finish_answer`."""
        if self.early:
            # It has begun, as the only kind of stream that may begin early.
            self.early = False
            return
        self.status = status
        self.streamed = True
        self.response.start(status, [*headers, *self._own_headers()])

    def start_early(self, headers: Sequence[tuple[str, str]]) -> None:
        """Begin an event stream before it is known what the answer is, so that the client hears something while it waits. What
        is answered later, whole or in pieces, goes into it."""
        if not self.early:
            self.start_answer(200, headers)
            self.early = True

    def _own_headers(self) -> list[tuple[str, str]]:
        if not self.redactions:
            return self.extra_headers
        return [*self.extra_headers, (REDACTIONS_HEADER, str(sum(self.redactions.values())))]

    async def write(self, data: bytes) -> None:
        """Send a piece of a streamed answer, at the pace of the client."""
        self.response_bytes += len(data)
        await self.response.write(data)

    def finish_answer(self) -> None:
        """Record the call, then end the stream cleanly."""
        self.record()
        self.response.finish()

    def abort_answer(self) -> None:
        """Record the call, then cut the stream so that the client cannot take it for complete."""
        self.truncated = True
        self.record()
        self.response.abort()

    def leave_unrecorded(self) -> None:
        """Another call has a record of everything that happens here."""
        self._recorded = True

    # --- The record -----------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Hand the one record of this call to the channel; later calls do nothing."""
        if self._recorded:
            return
        self._recorded = True
        duration_seconds = perf_counter() - self._received_at
        request, proxy, principal, verdict = self.request, self.proxy, self.principal, self.verdict
        agent = request.headers.get("user-agent", "")
        texts = self._texts()
        findings = tuple(self.added_findings[:MAX_RECORDED_FINDINGS]) if self.added_findings else ()
        operation, path = self.operation, request.path
        if findings:
            operation, path = shown_model(operation, path, findings)
        reason = self.reason or verdict.reason
        if proxy.canaries:
            path = shown_address(path, proxy.canaries.masked)
            reason = shown_address(reason, proxy.canaries.masked)
        if hidden := hidden_names(self.added_findings):
            replace = msgspec.structs.replace
            findings = tuple([replace(one, path=shown_place(one.path, hidden)) for one in findings])
            texts = tuple([replace(one, path=shown_place(one.path, hidden)) for one in texts])
        record = CallRecord(
            id=self.id,
            proxy_id=proxy.config.id,
            snapshot_version=proxy.snapshot_version,
            started_at=self.started_at,
            duration_ms=duration_seconds * 1000,
            added_ms=max(0.0, duration_seconds - self.waited_seconds) * 1000,
            method=request.method,
            path=_name(path, MAX_PATH_CHARACTERS),
            protocol=self.protocol,
            operation=_name(proxy.canaries.masked(operation), MAX_PATH_CHARACTERS),
            client_ip=request.peer_ip,
            client_agent=_name(agent, MAX_AGENT_CHARACTERS),
            principal_id=principal.id,
            principal_name=principal.name,
            status=self.status,
            outcome=self.outcome,
            action=verdict.action,
            error_code=self.error_code,
            reason=masked_name(reason),
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            streamed=self.streamed,
            truncated=self.truncated,
            findings=findings,
            usage=self.usage,
            timings_ms=self.timings_ms,
            redactions=self._redactions() if self.redactions or self.restored else (),
            decision=verdict.decision,
            tool=self._tool_use() if self.tool is not None else None,
            facts=self._recorded_facts() if texts else None,
            texts_omitted=self._capture.omitted if self._capture is not None else 0,
            texts=texts,
        )
        self._recorder.record(record)

    def _tool_use(self) -> ToolUse | None:
        """The use of the tool with its outcome. The size is that of the answer, in which the result is nearly all."""
        assert self.tool is not None  # The record asked.
        is_error = self.tool.is_error or self.outcome != "allowed"
        return msgspec.structs.replace(self.tool, is_error=is_error, result_bytes=self.response_bytes)

    def _redactions(self) -> tuple[Redaction, ...]:
        restored: dict[tuple[str, str], int] = {}
        for masked, count in self.restored.items():
            restored[masked.label, masked.rule_id] = restored.get((masked.label, masked.rule_id), 0) + count
        policy = ", ".join(self.protection.policies.names)
        counts = dict(self.redactions)
        for label, rule_id in restored:
            # What an earlier call of the conversation masked may come back in this one.
            if label != LITERAL_LABEL:
                counts.setdefault((label, "request", rule_id), 0)
        return tuple(
            Redaction(
                type=label,
                count=count,
                direction=direction,
                policy=policy,
                rule_id=rule_id,
                restored=restored.get((label, rule_id), 0) if direction == "request" else 0,
            )
            for (label, direction, rule_id), count in counts.items()
        )

    def _recorded_facts(self) -> RecordedFacts | None:
        """What conditions may ask about; facts that cannot be told cost the record nothing else."""
        if self.notes is None:
            return None
        try:
            return self.notes.facts(self.request.headers, self.protection.policies.header_names)
        except Exception:
            # Broad: a call that was served must be recorded; without facts a replay says "undecided".
            logger.exception("the facts of call %s cannot be told", self.id)
            return None

    def _texts(self) -> tuple[CapturedText, ...]:
        """What the proxy wants to keep of the inspected texts; a capture that fails costs the record nothing else."""
        if self._capture is None or (self.proxy.config.capture == "flagged" and not self.added_findings):
            self._capture = None
            return ()
        try:
            return self._capture.texts()
        except Exception:
            # Broad: as above; a text that cannot be masked is not kept.
            logger.exception("the texts of call %s cannot be captured", self.id)
            return ()
