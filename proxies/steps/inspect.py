"""Scan texts, keep the findings, decide. An engine that fails is never an allow (BODY-13)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from proxies.capture import RunningText
from proxies.exchange import Exchange
from proxies.refusal import Refusal
from rules.canaries import CanaryStream
from rules.engine import StreamScan, decide
from rules.model import Action, Finding, Target, Text

logger = logging.getLogger(__name__)


def scan(exchange: Exchange, texts: Sequence[Text], direction: Literal["request", "response"]) -> list[Finding]:
    """Inspect whole texts; the findings whose values must be masked. Raises `Refusal` when the verdict is a block."""
    proxy = exchange.proxy
    try:
        findings = proxy.ruleset.scan(texts, direction=direction)
        if proxy.canaries:
            findings += proxy.canaries.scan(
                texts, proxy_id=proxy.config.id, principal_id=exchange.principal.id, direction=direction
            )
    except Exception as error:
        raise _inspection_failed(exchange, error) from error
    if exchange.capture:
        exchange.capture.note(direction, texts, findings)
    return weigh(exchange, findings) if findings else []


def weigh(exchange: Exchange, findings: list[Finding]) -> list[Finding]:
    """Add findings to the exchange and decide on all of them; those of them whose values must be masked.

    Raises `Refusal` on a block.
    """
    exchange.added_findings += findings
    log_only = exchange.proxy.config.enforcement == "log_only"
    exchange.verdict = decide(exchange.added_findings, log_only=log_only)
    if exchange.verdict.action is Action.BLOCK:
        raise Refusal(
            403,
            "blocked_by_policy",
            f"Blocked by policy: {exchange.verdict.reason}",
            remediation="Remove the matched content, or ask an administrator to review the rule with this request id.",
            outcome="blocked",
        )
    if exchange.verdict.action < Action.REDACT:
        return []
    places = {_place(finding) for finding in findings}
    return [
        finding
        for finding in exchange.verdict.findings
        if finding.action is Action.REDACT and _place(finding) in places
    ]


def _place(finding: Finding) -> tuple[str, str, int, int]:
    return finding.rule_id, finding.path, finding.start, finding.end


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
            raise _inspection_failed(self._exchange, error) from error
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
        scan = self._scans[key] = proxy.ruleset.stream(target, path)
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
            raise _inspection_failed(self._exchange, error) from error
        if text := self._captured.pop(scan, None):
            text.feed("", findings)
        return weigh(self._exchange, findings) if findings else []


def _inspection_failed(exchange: Exchange, error: Exception) -> Refusal:
    logger.error("inspection of %s failed: %s: %s", exchange.id, type(error).__name__, error)
    return Refusal(
        500,
        "inspection_failed",
        "The gateway could not inspect this message, so it did not pass.",
        remediation="Try again; if it persists, give the request id to an administrator.",
        outcome="failed",
    )
