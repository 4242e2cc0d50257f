"""From findings to the verdict on a call, by the policies that apply to it. A verdict that fails is never an allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from proxies.exchange import Exchange, Judged
from proxies.refusal import Refusal
from rules.matching import MAX_VALUES_PER_RULE
from rules.model import Action, Finding, Verdict
from rules.verdicts import message_of

logger = logging.getLogger(__name__)

# By name, because every look into an enumeration costs a tenth of a microsecond.
_BLOCK: Final = Action.BLOCK
_HOLD: Final = Action.HOLD
_REDACT: Final = Action.REDACT


def weigh(exchange: Exchange, findings: list[Finding]) -> list[Finding]:
    """Add findings to the exchange and judge all of them; those of them whose values must be masked.

    Raises `Refusal` on a block.
    """
    if (known := _more_of_the_same(exchange, findings)) is not None:
        exchange.found += findings
        exchange.added_findings += known
        return _countable(exchange, [finding for finding in known if finding.action is _REDACT])
    exchange.found += findings
    now = time.monotonic()
    try:
        exchange.verdict = exchange.protection.policies.verdict(
            exchange.found,
            earlier=exchange.conversation.since(now) if exchange.conversation is not None else (),
            log_only=exchange.proxy.config.enforcement == "log_only",
            quiet=_quiet(exchange),
        )
    except Exception as error:
        raise inspection_failed(exchange, error) from error
    exchange.added_findings = list(exchange.verdict.findings)
    if exchange.conversation is not None:
        exchange.conversation.add(findings, now)
    if exchange.verdict.action is _BLOCK:
        raise _refusal(exchange.verdict)
    if exchange.verdict.action is _HOLD:
        if not exchange.may_hold:
            raise _refusal(exchange.verdict)
        exchange.hold = exchange.verdict
    exchange.judged = Judged(exchange.found, exchange.verdict, {})
    if exchange.verdict.action < _REDACT:
        return []
    masked = [finding for finding in exchange.verdict.findings if finding.action is _REDACT]
    if len(findings) == len(exchange.found):
        return _countable(exchange, masked)
    places = {_place(finding) for finding in findings}
    return _countable(exchange, [finding for finding in masked if _place(finding) in places])


def _countable(exchange: Exchange, masked: list[Finding]) -> list[Finding]:
    """The values to mask, where they are all that there are; raises `Refusal` where a rule has found so many in one text that
    it stopped looking: what it did not report would pass."""
    counts = exchange.values_found
    for finding in masked:
        place = finding.rule_id, finding.target.value, finding.path
        count = counts[place] = counts.get(place, 0) + 1
        if count >= MAX_VALUES_PER_RULE:
            raise _too_many(f"A text holds {MAX_VALUES_PER_RULE:,} values of one kind or more, too many to mask")
    return masked


def too_many_values(exchange: Exchange, error: Exception) -> Refusal:
    """The refusal of a message with more values than are looked for: what was not found would pass."""
    logger.warning("%s does not pass: %s", exchange.id, error)
    return _too_many("The message holds more values than can be found and masked")


def _too_many(what: str) -> Refusal:
    return Refusal(
        422,
        "masking_failed",
        f"{what}, so it did not pass.",
        remediation="Send it in smaller parts.",
    )


def _quiet(exchange: Exchange) -> frozenset[int]:
    """The places of those findings of a stream whose rules only alert there."""
    detect_only = exchange.protection.streams.detect_only
    if not detect_only:
        return frozenset()
    return frozenset(
        index
        for index, finding in enumerate(exchange.found)
        if index >= exchange.streamed_from and (finding.pack, finding.rule_id) in detect_only
    )


def _kinds(judged: Judged, streamed_from: int) -> dict[tuple[object, ...], Finding | None]:
    """What can be said of further findings without judging all of them again."""
    if not judged.kinds:
        effective = {_place(finding): finding for finding in judged.verdict.findings}
        for index, finding in enumerate(judged.found):
            kind = _kind(finding, in_stream=index >= streamed_from)
            judged.kinds[kind] = effective.get(_place(finding))
    return judged.kinds


def _more_of_the_same(exchange: Exchange, findings: Sequence[Finding]) -> list[Finding] | None:
    """The findings with the action in effect where the same rules have found the like before; None where one is new.

    A rule counts once for each message, so these change no verdict: a stream with hundreds of values is not judged anew for
    every one of them.
    """
    judged = exchange.judged
    if judged is None or judged.found is not exchange.found or exchange.conversation is not None:
        return None
    kinds = _kinds(judged, exchange.streamed_from)
    known: list[Finding] = []
    for finding in findings:
        kind = _kind(finding, in_stream=len(exchange.found) >= exchange.streamed_from)
        if kind not in kinds:
            return None
        if (twin := kinds[kind]) is not None:
            known.append(replace(finding, action=twin.action, severity=twin.severity))
    return known


def _kind(finding: Finding, *, in_stream: bool) -> tuple[object, ...]:
    """All that a verdict asks about a finding, as it came from its rule."""
    return (
        finding.pack,
        finding.rule_id,
        message_of(finding.path),
        finding.action,
        finding.confidence,
        finding.score,
        in_stream,
    )


def _place(finding: Finding) -> tuple[str, str, int, int]:
    return finding.rule_id, finding.path, finding.start, finding.end


def _refusal(verdict: Verdict) -> Refusal:
    """What a blocked message is answered: the content is named by its rule, a condition by the words of its author."""
    decision = verdict.decision
    if decision.source == "detection":
        return Refusal(
            decision.status,
            "blocked_by_policy",
            f"Blocked: {verdict.reason}",
            remediation="Remove the matched content, or ask an administrator to review the rule with this request id.",
            outcome="blocked",
        )
    return Refusal(
        decision.status,
        "policy_denied",
        f"Denied: {verdict.reason}",
        remediation="Ask an administrator to review the policy with this request id.",
        outcome="blocked",
    )


def inspection_failed(exchange: Exchange, error: Exception) -> Refusal:
    """The refusal of what could not be inspected or judged."""
    logger.error("inspection of %s failed: %s: %s", exchange.id, type(error).__name__, error)
    return Refusal(
        500,
        "inspection_failed",
        "The gateway could not inspect this message, so it did not pass.",
        remediation="Try again; if it persists, give the request id to an administrator.",
        outcome="failed",
    )
