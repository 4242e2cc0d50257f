"""Each message of a call is judged for itself, and the call's record keeps what was found in all of them."""

from __future__ import annotations

from typing import Final, Literal

from proxies import pipeline
from proxies.exchange import Exchange
from proxies.mcp.facts import request_facts
from proxies.mcp.messages import Message
from proxies.mcp.texts import request_texts
from proxies.refusal import Refusal
from rules.facts import Facts
from rules.model import ALLOWED, Text
from rules.verdicts import stronger

MAX_FINDINGS: Final = 256
"""Findings kept for one record, so that an upstream that talks for hours cannot fill the worker's memory."""


def inspect_message(exchange: Exchange, message: Message) -> None:
    """Inspect and judge one request of the client; raises `Refusal` on a block."""
    texts = request_texts(message, exchange.request.headers)
    facts = request_facts(exchange, message, texts) if pipeline.needs_facts(exchange) else None
    inspect_apart(exchange, texts, "request", facts)


def inspect_apart(
    exchange: Exchange, texts: list[Text], direction: Literal["request", "response"], facts: Facts | None = None
) -> None:
    """Inspect one message without the findings of the others; raises `Refusal` on a block.

    A batch, or a stream of many messages, is one call: without this, two harmless findings in different messages would
    add up to a block.
    """
    earlier, verdict = exchange.added_findings, exchange.verdict
    exchange.found, exchange.added_findings, exchange.verdict = [], [], ALLOWED
    try:
        if direction == "request":
            pipeline.inspect_request(exchange, texts, facts)
        else:
            pipeline.inspect_response(exchange, texts)
    finally:
        exchange.found = []
        exchange.added_findings = (earlier + exchange.added_findings)[:MAX_FINDINGS]
        exchange.verdict = stronger(verdict, exchange.verdict)


def inspect_and_record(exchange: Exchange, texts: list[Text], method: str) -> None:
    """Inspect one message of a stream that lives for hours; what is found is recorded at once, as a call of its own."""
    part = exchange.fork(method)
    try:
        pipeline.inspect_response(part, texts)
    except Refusal as refusal:
        part.outcome = refusal.outcome
        part.error_code = refusal.code
        part.reason = refusal.message
        raise
    finally:
        exchange.lap("inspect_response")
        if part.added_findings:
            part.record()
