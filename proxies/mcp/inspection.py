"""Each message of a call is judged for itself, and the call's record keeps what was found in all of them."""

from __future__ import annotations

from typing import Final, Literal

from proxies import pipeline
from proxies.exchange import Exchange
from proxies.refusal import Refusal
from rules.model import ALLOWED, Text

MAX_FINDINGS: Final = 256
"""Findings kept for one record, so that an upstream that talks for hours cannot fill the worker's memory."""


def inspect_apart(exchange: Exchange, texts: list[Text], direction: Literal["request", "response"]) -> None:
    """Inspect one message without the findings of the others; raises `Refusal` on a block.

    A batch, or a stream of many messages, is one call: without this, two harmless findings in different messages would
    add up to a block.
    """
    earlier, verdict = exchange.added_findings, exchange.verdict
    exchange.added_findings, exchange.verdict = [], ALLOWED
    try:
        if direction == "request":
            pipeline.inspect_request(exchange, texts)
        else:
            pipeline.inspect_response(exchange, texts)
    finally:
        exchange.added_findings = (earlier + exchange.added_findings)[:MAX_FINDINGS]
        if exchange.verdict.action < verdict.action:
            exchange.verdict = verdict


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
