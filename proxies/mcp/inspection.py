"""Each message of a call is judged and masked for itself, and the call's record keeps what was found in all of them."""

from __future__ import annotations

from typing import Any, Final, Literal

from proxies import pipeline
from proxies.exchange import Exchange
from proxies.mcp.control.calls import check_answer
from proxies.mcp.control.declarations import Declaration
from proxies.mcp.elicited_urls import check_urls
from proxies.mcp.facts import request_facts
from proxies.mcp.messages import Message, parts_of
from proxies.mcp.sessions import Session
from proxies.mcp.texts import request_texts
from proxies.refusal import Refusal
from rules.facts import Facts
from rules.masking.session import MaskingSession
from rules.model import ALLOWED, Finding, Text
from rules.verdicts import stronger

HEADERS_PATH: Final = "/headers/"
MAX_FINDINGS: Final = 256
"""Findings kept for one record, so that an upstream that talks for hours cannot fill the worker's memory."""


def inspect_message(exchange: Exchange, message: Message, *, session: Session | None = None) -> dict[str, str]:
    """Inspect, judge and mask one request of the client; raises `Refusal` on a block.

    Returns the headers whose value was masked as well: those that repeat an argument (M-08).
    """
    texts = request_texts(message, exchange.request.headers)
    facts = request_facts(exchange, message, texts) if pipeline.needs_facts(exchange) else None
    exchange.hold, exchange.may_hold = None, message.method == "tools/call"
    try:
        return mask_apart(exchange, message, texts, facts, session=session)
    finally:
        exchange.may_hold = False


def mask_apart(
    exchange: Exchange,
    message: Message,
    texts: list[Text],
    facts: Facts | None = None,
    *,
    session: Session | None = None,
) -> dict[str, str]:
    """Inspect one message of the client, and mask in place what must not reach the server.

    A legacy session remembers what was masked, so that whatever the server says in it can be restored.
    """
    found = _inspect_apart(exchange, texts, "request", facts)
    if session is not None and exchange.masking is None:
        exchange.masking = session.masking
    if not found and not exchange.masking:
        return {}
    edits = pipeline.mask_request(exchange, parts_of(message), texts, found, session.id if session else "")
    if session is not None:
        session.masking = exchange.masking
    return {path.removeprefix(HEADERS_PATH): text for path, text in edits.items() if path.startswith(HEADERS_PATH)}


def inspect_apart(exchange: Exchange, texts: list[Text], document: Any) -> None:
    """Inspect what comes from the server, mask what was found and put the caller's own values back, in place.

    Raises `Refusal` on a block.
    """
    check_urls(exchange, document)
    found = _inspect_apart(exchange, texts, "response")
    pipeline.finish_answer(exchange, document, texts, found)


def inspect_answer(
    exchange: Exchange, texts: list[Text], document: dict[str, Any], declaration: Declaration | None
) -> None:
    """`inspect_apart` for a message on the stream of a call: a result must also be one that the called tool gives.

    Values that were masked towards the server are put back first: the schema is about the values.
    """
    is_answer = "result" in document or "error" in document
    if is_answer and not exchange.masking:
        check_answer(exchange, declaration, document)
    inspect_apart(exchange, texts, document)
    if is_answer and exchange.masking:
        check_answer(exchange, declaration, document)


def _inspect_apart(
    exchange: Exchange, texts: list[Text], direction: Literal["request", "response"], facts: Facts | None = None
) -> list[Finding]:
    """Inspect one message without the findings of the others; what must be masked in it. Raises `Refusal` on a block.

    A batch, or a stream of many messages, is one call: without this, two harmless findings in different messages would
    add up to a block.
    """
    earlier, verdict = exchange.added_findings, exchange.verdict
    exchange.found, exchange.added_findings, exchange.verdict = [], [], ALLOWED
    try:
        if direction == "request":
            return pipeline.inspect_request(exchange, texts, facts) + _judge_taint(exchange, texts)
        to_mask = pipeline.inspect_response(exchange, texts)
        note_taint(exchange, texts)
        return to_mask
    finally:
        exchange.found = []
        exchange.added_findings = (earlier + exchange.added_findings)[:MAX_FINDINGS]
        exchange.verdict = stronger(verdict, exchange.verdict)


def _judge_taint(exchange: Exchange, texts: list[Text]) -> list[Finding]:
    """Look for what another server gave this caller; what of it must be masked. Raises `Refusal` on a block."""
    if exchange.proxy.controlled is None:
        return []
    found = exchange.proxy.controlled.taints.findings(exchange, texts)
    if not found:
        return []
    if exchange.capture:
        exchange.capture.note("request", texts, found)
    return pipeline.judge_findings(exchange, found)


def note_taint(exchange: Exchange, texts: list[Text]) -> None:
    """Remember what the message that has just been inspected gives the caller and must not go to another server."""
    if exchange.found and exchange.proxy.controlled is not None:
        exchange.proxy.controlled.taints.note(exchange, texts, exchange.found)


def inspect_and_record(
    exchange: Exchange, texts: list[Text], method: str, document: Any, *, masking: MaskingSession | None
) -> None:
    """Inspect one message of a stream that lives for hours, masked and restored like any other; what is found is recorded
    at once, as a call of its own."""
    part = exchange.fork(method)
    part.masking = masking
    try:
        check_urls(part, document)
        found = pipeline.inspect_response(part, texts)
        note_taint(part, texts)
        pipeline.finish_answer(part, document, texts, found)
    except Refusal as refusal:
        part.outcome = refusal.outcome
        part.error_code = refusal.code
        part.reason = refusal.message
        raise
    finally:
        exchange.lap("inspect_response")
        if part.added_findings or part.reason:
            part.record()
