"""The fixed order in which a call is judged (DESIGN §3). Every transport and protocol goes through these functions.

origin and loop → authenticate (and authorise) → rate limits → [endpoint parses] → decision service → context firewall →
inspect and judge the request → mask → [endpoint forwards] → inspect and judge the response → redact and restore → record.
A step that refuses closes its lap too, so that the timeline of a call ends with the step that ended it. An exception in a step is
never an allow: the steps raise `Refusal`, and whatever else escapes is turned into a refusal by `dispatch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxies.exchange import Exchange
from proxies.steps import ask, authenticate, context, decide, inspect, limit, loop, mask, origin, restore
from proxies.steps.inspect import ResponseInspector
from rules.context_firewall import MEMBER
from rules.facts import Facts, ToolCall
from rules.model import Finding, Text

__all__ = [
    "ResponseInspector",
    "admit",
    "ask_decision_service",
    "check_context",
    "check_origin",
    "finish_answer",
    "has_rules",
    "inspect_request",
    "inspect_response",
    "judge_findings",
    "judge_tool_calls",
    "mask_request",
    "needs_facts",
    "needs_tool_calls",
]


def check_origin(exchange: Exchange) -> None:
    """Host, Origin and a call that goes in a circle, before anything else and before the body is read."""
    try:
        origin.check(exchange)
        loop.check(exchange)
    finally:
        exchange.lap("origin")


def admit(exchange: Exchange, *, counted: bool = True) -> None:
    """Credential, right to use this proxy, and how often. What only carries other calls is not counted itself."""
    try:
        authenticate.check(exchange)
    finally:
        exchange.lap("authenticate")
    if counted and exchange.protection.policies.has_rate_limits:
        try:
            limit.check(exchange)
        finally:
            exchange.lap("rate_limit")


def has_rules(exchange: Exchange) -> bool:
    """Whether anything reads the texts of this call; where nothing does there is no need to collect them."""
    protection = exchange.protection
    return protection.ruleset.rule_count > 0 or bool(exchange.proxy.canaries) or protection.policies.needs_facts


async def ask_decision_service(exchange: Exchange, facts: dict[str, Any]) -> None:
    """Ask whoever decides besides the policies, with what the call is and not with what it says. Raises `Refusal`."""
    if exchange.proxy.decisions is None:
        return
    try:
        await ask.check(exchange, facts)
    finally:
        exchange.lap("decision", waiting=True)


def check_context(exchange: Exchange, document: dict[str, Any]) -> None:
    """Judge what a request names as its context, and remove that member. Raises `Refusal`."""
    if MEMBER not in document:
        return
    try:
        context.check(exchange, document)
    finally:
        exchange.lap("context")


def needs_facts(exchange: Exchange) -> bool:
    """Whether a policy has conditions; where none has there is no need to collect what they ask about."""
    return exchange.protection.policies.needs_facts


def needs_tool_calls(exchange: Exchange) -> bool:
    """Whether a policy has conditions on tool calls, which an answer may hold."""
    return exchange.protection.policies.needs_tool_calls


def inspect_request(
    exchange: Exchange, texts: Sequence[Text], facts: Facts | None = None, names: Sequence[Text] = ()
) -> list[Finding]:
    """Inspect everything that would reach the upstream; what must be masked in it. Raises `Refusal` on a block.

    `names` say nothing that a rule could find; only canaries are looked for in them.
    """
    exchange.facts = facts
    try:
        return inspect.scan(exchange, texts, "request", facts, names)
    finally:
        exchange.lap("inspect_request")


def judge_findings(exchange: Exchange, found: Sequence[Finding]) -> list[Finding]:
    """Judge what was found by other means in a message that has been inspected; what of it must be masked. Raises
    `Refusal` on a block."""
    try:
        return decide.weigh(exchange, list(found))
    finally:
        exchange.lap("inspect_request")


def mask_request(
    exchange: Exchange, document: Any, texts: Sequence[Text], found: Sequence[Finding], conversation: str
) -> dict[str, str]:
    """Mask in place what was found in a request; the new texts by place. Raises `Refusal` where it cannot be masked."""
    try:
        return mask.mask_request(exchange, document, texts, found, conversation)
    finally:
        exchange.lap("mask")


def inspect_response(exchange: Exchange, texts: Sequence[Text]) -> list[Finding]:
    """Inspect everything that would reach the client; what must be masked in it. Raises `Refusal` on a block."""
    try:
        return inspect.scan(exchange, texts, "response")
    finally:
        exchange.lap("inspect_response")


def finish_answer(exchange: Exchange, document: Any, texts: Sequence[Text], found: Sequence[Finding]) -> None:
    """Mask in place what was found in an answer, then put the caller's own values back. Raises `Refusal`."""
    if found or exchange.masking:
        try:
            restore.finish_answer(exchange, document, texts, found)
        finally:
            exchange.lap("restore")


def judge_tool_calls(exchange: Exchange, calls: Sequence[ToolCall], *, named_only: bool = False) -> None:
    """Judge what a model asks for by the conditions of the policies; raises `Refusal` on a block.

    `named_only` for calls that have only begun: their arguments are still to come.
    """
    if not calls or exchange.facts is None:
        return
    try:
        inspect.ask_about(exchange, calls, named_only=named_only)
    finally:
        exchange.lap("inspect_response")
