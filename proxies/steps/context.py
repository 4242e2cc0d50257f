"""The context firewall (SLG-CTX-1 to 3): what a request names as its context comes from an allowed place and gives no orders.

The member is removed before anything else reads the request: no provider knows it, and the texts that the model is to
read stand in the messages, where they are inspected like all others. What rules find in the chunks is kept with the call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec.structs import replace

from proxies.exchange import Exchange
from proxies.refusal import Refusal
from proxies.steps.decide import inspection_failed, weigh
from rules.context_firewall import (
    MEMBER,
    SETTINGS_PACK,
    ContextInput,
    ContextMalformed,
    across_chunks,
    chunk_texts,
    citations,
    rejections,
    take_context,
)
from rules.model import Action, Finding, Target, Text
from rules.policy import ContextFirewall


def check(exchange: Exchange, document: dict[str, Any]) -> None:
    """Judge the context of a request and remove it; raises `Refusal` with 400, or 422 for another shape."""
    firewalls = _firewalls(exchange)
    if not firewalls:
        return
    try:
        context = take_context(document)
    except ContextMalformed as error:
        raise Refusal(
            422, "invalid_context", str(error), remediation="Send {source, chunks: [{id, content}]}."
        ) from None
    if context is None:
        return
    found = _scan(exchange, context)
    rejected = [rejection for pack, firewall in firewalls for rejection in rejections(pack, firewall, context, found)]
    exchange.citations = citations(context)
    try:
        # The chunks do not go on, so what they hold is known and blocks nothing by itself.
        weigh(exchange, [*(replace(finding, action=Action.LOG) for finding in found), *rejected])
    except Refusal as refusal:
        raise Refusal(
            400,
            "context_rejected",
            refusal.message,
            remediation="Name a context from an allowed origin without orders to the model, or ask an administrator.",
            outcome="blocked",
        ) from None


def _firewalls(exchange: Exchange) -> list[tuple[str, ContextFirewall]]:
    """The firewalls in force, each with the pack under which it reports."""
    policies = [compiled.policy for compiled in exchange.protection.policies.policies]
    found = [(policy.own_pack_name, policy.context) for policy in policies if policy.context is not None]
    default = exchange.proxy.config.context
    return found or ([(SETTINGS_PACK, default)] if default is not None else [])


def _scan(exchange: Exchange, context: ContextInput) -> list[Finding]:
    texts = [Text(Target.DOCUMENT, f"/{MEMBER}/source", context.source), *chunk_texts(context)]
    try:
        scan = partial(exchange.protection.ruleset.recall, direction="request", whose=exchange.principal.id)
        found = scan(texts)
        found += across_chunks(context, scan, found)
    except Exception as error:
        raise inspection_failed(exchange, error) from error
    if exchange.capture:
        exchange.capture.note("request", texts, found)
    return found
