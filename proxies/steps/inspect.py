"""Scan texts and weigh what is found. An engine that fails is never an allow (BODY-13)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from msgspec.structs import replace

from proxies.capture import RunningText
from proxies.exchange import Exchange
from proxies.steps.decide import inspection_failed, too_many_values, weigh
from rules.canaries import CanaryStream
from rules.definitions import in_definitions
from rules.encoded_values import beyond_views
from rules.engine import StreamScan
from rules.evaluator import TooMuchToMask
from rules.facts import Facts, ToolCall
from rules.model import Finding, Target, Text
from rules.seams import across_seams


def scan(
    exchange: Exchange,
    texts: Sequence[Text],
    direction: Literal["request", "response"],
    facts: Facts | None = None,
    names: Sequence[Text] = (),
) -> list[Finding]:
    """Inspect whole texts, and ask the conditions of the policies about the facts of the message. `names` may be canaries.

    Returns the findings whose values must be masked; raises `Refusal` when the verdict is a block.
    """
    proxy = exchange.proxy
    try:
        rules = partial(exchange.protection.ruleset.recall, direction=direction, whose=exchange.principal.id)
        findings = rules(texts)
        masks = exchange.protection.policies.masks
        findings += beyond_views(texts, rules, masks, findings)
        findings += across_seams(texts, rules, findings)
        if direction == "request":
            findings += in_definitions(texts, rules, masks, findings)
        if proxy.canaries:
            canaries = partial(
                proxy.canaries.scan,
                proxy_id=proxy.config.id,
                principal_id=exchange.principal.id,
                direction=direction,
            )
            seen = canaries(texts)
            findings += seen
            findings += across_seams(texts, canaries, seen)
            if names:
                findings += canaries(names)
        conditional = exchange.protection.policies.conditional_findings(facts) if facts is not None else []
    except TooMuchToMask as full:
        raise too_many_values(exchange, full) from None
    except Exception as error:
        raise inspection_failed(exchange, error) from error
    if exchange.capture:
        exchange.capture.note(direction, texts, findings)
    findings += conditional
    return weigh(exchange, findings) if findings else []


def ask_about(exchange: Exchange, calls: Sequence[ToolCall], *, named_only: bool) -> None:
    """Ask the conditions of the policies about tool calls of an answer; raises `Refusal` on a block."""
    assert exchange.facts is not None  # The pipeline asks only where the request had facts.
    facts = replace(exchange.facts, phase="named" if named_only else "response", tool_calls=tuple(calls))
    try:
        findings = exchange.protection.policies.conditional_findings(facts)
    except Exception as error:
        raise inspection_failed(exchange, error) from error
    known = {(finding.pack, finding.rule_id, finding.path) for finding in exchange.found}
    if new := [finding for finding in findings if (finding.pack, finding.rule_id, finding.path) not in known]:
        weigh(exchange, new)


class ResponseInspector:
    """Inspects an answer while it streams: one running scan per logical text (a choice, a block, a tool call)."""

    __slots__ = ("_canaries", "_captured", "_exchange", "_scans")

    MAX_SCANS = 512
    """Bound on parallel texts of one answer; an answer with more is refused."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._scans: dict[str, StreamScan] = {}
        self._canaries: dict[str, CanaryStream] = {}
        self._captured: dict[StreamScan, RunningText] = {}

    @property
    def open_count(self) -> int:
        """How many texts have not ended."""
        return len(self._scans)

    def feed(self, key: str, target: Target, path: str, chunk: str) -> list[Finding]:
        """Inspect the next piece of the text named `key`; the findings whose values must be masked.

        Raises `Refusal` when the verdict becomes a block.
        """
        scan = self._scans.get(key)
        try:
            if scan is None:
                if len(self._scans) >= self.MAX_SCANS:
                    raise RuntimeError("more parallel texts in one answer than can be inspected")
                scan = self._begin(key, target, path)
            findings = scan.feed(chunk)
            if canaries := self._canaries.get(key):
                findings += canaries.feed(chunk)
        except Exception as error:
            raise inspection_failed(self._exchange, error) from error
        if text := self._captured.get(scan):
            text.feed(chunk, findings)
        return weigh(self._exchange, findings) if findings else []

    def undecided_from(self, key: str, rule_ids: frozenset[str]) -> int | None:
        """Where the first value of the text named `key` lies that one of these rules may still report."""
        scan = self._scans.get(key)
        return scan.undecided_from(rule_ids) if scan else None

    def _begin(self, key: str, target: Target, path: str) -> StreamScan:
        proxy = self._exchange.proxy
        if proxy.canaries:
            self._canaries[key] = proxy.canaries.stream(
                target,
                path,
                proxy_id=proxy.config.id,
                principal_id=self._exchange.principal.id,
                direction="response",
            )
        scan = self._scans[key] = self._exchange.protection.ruleset.stream(target, path)
        if (capture := self._exchange.capture) and (text := capture.open(scan, target, path)):
            self._captured[scan] = text
        return scan

    def close_text(self, key: str) -> list[Finding]:
        """End one text: findings that needed its end are weighed now, and those to mask returned."""
        self._canaries.pop(key, None)
        scan = self._scans.pop(key, None)
        return self._finish(scan) if scan else []

    def close(self) -> None:
        """End every text; raises `Refusal` when the verdict becomes a block."""
        while self._scans:
            self._finish(self._scans.popitem()[1])

    def _finish(self, scan: StreamScan) -> list[Finding]:
        try:
            findings = scan.close()
        except Exception as error:
            raise inspection_failed(self._exchange, error) from error
        if text := self._captured.pop(scan, None):
            text.feed("", findings)
        return weigh(self._exchange, findings) if findings else []
