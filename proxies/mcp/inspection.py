"""Each message of a call is judged and masked for itself, and the call's record keeps what was found in all of them.

A large message is inspected in a thread, whole: its texts are collected, judged, masked and restored there. `size` is always
that of the text in which the message came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from proxies import off_loop, pipeline
from proxies.exchange import Exchange, Judged
from proxies.mcp import declared_findings, egress, media
from proxies.mcp.control.calls import check_answer
from proxies.mcp.control.declarations import Declaration
from proxies.mcp.control.known_lists import KnownFindings
from proxies.mcp.elicited_urls import check_urls
from proxies.mcp.facts import note_call, request_facts
from proxies.mcp.messages import Message, parts_of
from proxies.mcp.sessions import Session
from proxies.mcp.texts import request_texts
from proxies.refusal import Refusal
from proxies.steps.mask import start_session
from rules.facts import Facts
from rules.masking.session import MaskingSession
from rules.model import ALLOWED, Action, Finding, Text
from rules.verdicts import stronger

HEADERS_PATH: Final = "/headers/"
MAX_FINDINGS: Final = 256
"""Findings kept for one record, so that an upstream that talks for hours cannot fill the worker's memory."""

Texts = Callable[[], list[Text]]
"""Collects the texts of a message; called once, where it is inspected."""


async def inspect_message(
    exchange: Exchange, message: Message, *, session: Session | None = None, is_declared: bool = False
) -> dict[str, str]:
    """Inspect, judge and mask one request of the client; raises `Refusal` on a block. `is_declared` says that it is about
    something which the server declares and which may pass.

    Returns the headers whose value was masked as well: those that repeat an argument (M-08).
    """
    exchange.hold, exchange.may_hold = None, message.method == "tools/call"
    work = partial(_inspect_request, exchange, message, session=session, is_declared=is_declared)
    size, conditions = exchange.request_bytes, exchange.protection.policies.reading_conditions
    is_large = size > off_loop.LARGE_MESSAGE_BYTES or off_loop.has_many_conditions(size, conditions)
    try:
        return await off_loop.away(work) if is_large else work()
    finally:
        exchange.may_hold = False


def _inspect_request(
    exchange: Exchange, message: Message, *, session: Session | None, is_declared: bool
) -> dict[str, str]:
    texts = request_texts(message, exchange.request.headers, is_declared=is_declared)
    facts = request_facts(exchange, message, texts) if pipeline.needs_facts(exchange) else None
    if exchange.capture is not None:
        note_call(exchange, message, texts)
    return _mask_apart(exchange, message, texts, facts, session=session)


async def mask_apart(exchange: Exchange, message: Message, texts: Texts, *, session: Session) -> None:
    """Inspect a notification or an answer of the client, and mask in place what must not reach the server."""

    def work() -> None:
        _mask_apart(exchange, message, texts(), None, session=session)

    await off_loop.sized(exchange.request_bytes, work, large=off_loop.LARGE_MESSAGE_BYTES)


def _mask_apart(
    exchange: Exchange, message: Message, texts: list[Text], facts: Facts | None, *, session: Session | None
) -> dict[str, str]:
    """A legacy session remembers what was masked, so that whatever the server says in it can be restored."""
    found = _inspect_apart(exchange, texts, "request", facts)
    if session is not None and exchange.masking is None:
        exchange.masking = session.masking
    if not found and not exchange.masking:
        return {}
    conversation = session.id if session is not None else ""
    if session is not None and exchange.masking is None:
        with _starting:
            exchange.masking = session.masking = session.masking or start_session(exchange, conversation)
    edits = pipeline.mask_request(exchange, parts_of(message), texts, found, conversation)
    return {path.removeprefix(HEADERS_PATH): text for path, text in edits.items() if path.startswith(HEADERS_PATH)}


_starting: Final = threading.Lock()
"""Two messages of one session that mask the first values at the same time share them."""


async def inspect_apart(exchange: Exchange, texts: Texts, document: Any, *, size: int) -> None:
    """Inspect what comes from the server, mask what was found and put the caller's own values back, in place.

    Raises `Refusal` on a block.
    """
    work = partial(inspect_now, exchange, texts, document)
    await off_loop.sized(size, work, large=off_loop.LARGE_MESSAGE_BYTES)


def inspect_now(exchange: Exchange, texts: Texts, document: Any) -> None:
    """`inspect_apart` for a caller that is where the message can be inspected already."""
    pages = _pages_outside(exchange, check_urls(exchange, document))
    collected = texts()
    more = pages + media.findings(document, collected)
    before = len(exchange.added_findings)
    found = _inspect_apart(exchange, collected, "response", more=more)
    if len(exchange.added_findings) > before:
        declared_findings.mark(exchange.added_findings, before, exchange.operation, document)
    pipeline.finish_answer(exchange, document, collected, found)


def judge_known(exchange: Exchange, texts: list[Text], known: KnownFindings) -> bool:
    """`inspect_now` for an answer of which it is known what the rules find in its texts: only judged anew.

    False where it has to be inspected after all, because something of it must be masked. Raises `Refusal` on a block."""
    start = len(exchange.added_findings)
    if _inspect_apart(exchange, texts, "response", known=known.found):
        del exchange.added_findings[start:]
        return False
    declared_findings.mark_as_before(exchange.added_findings, start, known.declarations)
    return True


def known_findings(exchange: Exchange, before: Judged | None, start: int) -> KnownFindings | None:
    """What the rules have found in the answer that was inspected last: `before` is what had been judged and `start` how
    much had been found until then. None where that cannot be told again without inspecting it."""
    added = exchange.added_findings[start:]
    if len(exchange.added_findings) >= MAX_FINDINGS or any(finding.action is Action.REDACT for finding in added):
        return None
    judged = exchange.judged
    if judged is None or judged is before:
        return KnownFindings()
    return KnownFindings(list(judged.found), {finding.path: finding.declaration for finding in added})


async def inspect_answer(
    exchange: Exchange, texts: Texts, document: dict[str, Any], declaration: Declaration | None, *, size: int
) -> None:
    """`inspect_apart` for a message on the stream of a call: a result must also be one that the called tool gives."""
    if size > off_loop.LARGE_MESSAGE_BYTES:
        await off_loop.away(partial(_inspect_answer, exchange, texts, document, declaration))
    else:
        _inspect_answer(exchange, texts, document, declaration)


def _inspect_answer(
    exchange: Exchange, texts: Texts, document: dict[str, Any], declaration: Declaration | None
) -> None:
    if "result" in document or "error" in document:
        check_answer(exchange, declaration, document)
    inspect_now(exchange, texts, document)


def _inspect_apart(
    exchange: Exchange,
    texts: list[Text],
    direction: Literal["request", "response"],
    facts: Facts | None = None,
    more: Sequence[Finding] = (),
    known: Sequence[Finding] | None = None,
) -> list[Finding]:
    """Inspect one message without the findings of the others; what must be masked in it. `more` is what is known of it
    already, `known` all that the rules find in it. Raises `Refusal` on a block.

    A batch, or a stream of many messages, is one call: without this, two harmless findings in different messages would
    add up to a block.
    """
    earlier, verdict = exchange.added_findings, exchange.verdict
    exchange.found, exchange.added_findings, exchange.verdict = [], [], ALLOWED
    try:
        if direction == "request":
            to_mask = pipeline.inspect_request(exchange, texts, facts)
            return to_mask + _judge(exchange, texts, _tainted(exchange, texts) + _leading_out(exchange, texts))
        if known is not None:
            if exchange.capture:
                exchange.capture.note(direction, texts, known)
            to_mask = pipeline.judge_findings(exchange, list(known)) if known else []
        else:
            if more:
                pipeline.judge_findings(exchange, list(more))
            to_mask = pipeline.inspect_response(exchange, texts)
        _note_taint(exchange, texts)
        return to_mask
    finally:
        exchange.found = []
        exchange.values_found = {}
        exchange.added_findings = (earlier + exchange.added_findings)[:MAX_FINDINGS]
        if verdict is not ALLOWED:
            exchange.verdict = stronger(verdict, exchange.verdict)


def _judge(exchange: Exchange, texts: list[Text], found: list[Finding]) -> list[Finding]:
    """Judge what no rule finds; what of it must be masked. Raises `Refusal` on a block."""
    if not found:
        return []
    if exchange.capture:
        exchange.capture.note("request", texts, found)
    return pipeline.judge_findings(exchange, found)


def _tainted(exchange: Exchange, texts: list[Text]) -> list[Finding]:
    """What another server gave this caller."""
    controlled = exchange.proxy.controlled
    return controlled.taints.findings(exchange, texts) if controlled is not None else []


def _leading_out(exchange: Exchange, texts: list[Text]) -> list[Finding]:
    """Addresses of hosts to which the proxy lets no tool be sent."""
    settings = exchange.proxy.config.mcp
    return egress.findings(settings.egress_hosts, texts) if settings is not None and settings.egress_hosts else []


def _pages_outside(exchange: Exchange, hosts: list[str]) -> list[Finding]:
    """Of the hosts of pages that the user is asked to open those that the proxy does not allow."""
    settings = exchange.proxy.config.mcp
    return egress.page_findings(settings.egress_hosts, hosts) if hosts and settings is not None else []


def _note_taint(exchange: Exchange, texts: list[Text]) -> None:
    """Remember what the message that has just been inspected gives the caller and must not go to another server."""
    if exchange.found and exchange.proxy.controlled is not None:
        exchange.proxy.controlled.taints.note(exchange, texts, exchange.found)


async def inspect_and_record(
    exchange: Exchange, texts: Texts, method: str, document: Any, *, size: int, masking: MaskingSession | None
) -> None:
    """Inspect one message of a stream that lives for hours, masked and restored like any other; what is found is recorded
    at once, as a call of its own."""
    part = exchange.fork(method)
    part.masking = masking
    try:
        await inspect_apart(part, texts, document, size=size)
    except Refusal as refusal:
        part.outcome = refusal.outcome
        part.error_code = refusal.code
        part.reason = refusal.message
        raise
    finally:
        exchange.lap("inspect_response")
        if part.added_findings or part.reason:
            part.record()
