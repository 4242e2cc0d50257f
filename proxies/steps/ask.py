"""Ask the decision service about an LLM call before anything reads its text (SLG-POL-1). No answer is no permission."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from proxies.decision_service import NoDecision
from proxies.exchange import Exchange
from proxies.refusal import Refusal
from proxies.steps.decide import weigh
from rules.model import Action, Confidence, Finding, Severity, Target

logger = logging.getLogger(__name__)

PACK: Final = "decision-service"
DENIED: Final = "DECISION-DENIED"
SILENT: Final = "DECISION-MISSING"
MAX_EVIDENCE_CHARACTERS: Final = 160


async def check(exchange: Exchange, facts: dict[str, Any]) -> None:
    """Raises `Refusal` with 403 and the reasons where the service denies the call, with 503 where it gives no answer."""
    service = exchange.proxy.decisions
    if service is None:
        return
    try:
        reasons = await service.deny_reasons({**_who(exchange), **facts})
    except NoDecision as error:
        _without_decision(exchange, str(error), fail_open=service.fail_open)
        return
    if reasons:
        _deny(exchange, reasons)


def _who(exchange: Exchange) -> dict[str, Any]:
    """What the service is told of every call; never a text of it."""
    principal, config = exchange.principal, exchange.proxy.config
    return {
        "tenant": principal.name,
        "key_id": principal.id,
        "proxy": {"id": config.id, "name": config.name},
        "api": exchange.protocol,
        "client_ip": exchange.request.peer_ip,
    }


def _deny(exchange: Exchange, reasons: Sequence[str]) -> None:
    said = "; ".join(reasons)
    try:
        # A proxy that only logs records the denial and lets the call pass.
        weigh(exchange, [_finding(DENIED, "Denied by the decision service", Action.BLOCK, said)])
    except Refusal:
        raise Refusal(
            403,
            "policy_denied",
            f"Denied: {said}",
            remediation="Ask an administrator to review the decision policy with this request id.",
            outcome="blocked",
        ) from None


def _without_decision(exchange: Exchange, reason: str, *, fail_open: bool) -> None:
    logger.error("no decision about %s: %s", exchange.id, reason)
    weigh(exchange, [_finding(SILENT, "The decision service gave no answer", Action.ALERT, reason)])
    if fail_open or exchange.proxy.config.enforcement == "log_only":
        return
    raise Refusal(
        503,
        "decision_unavailable",
        "The decision service gave no answer, so the call did not pass.",
        remediation="Try again; if it persists, give the request id to an administrator.",
        outcome="failed",
        detail=f"The decision service gave no answer: {reason}",
    )


def _finding(rule_id: str, title: str, action: Action, evidence: str) -> Finding:
    return Finding(
        rule_id=rule_id,
        pack=PACK,
        title=title,
        category="policy/decision",
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=100,
        action=action,
        target=Target.PROMPT,
        path="",
        start=0,
        end=0,
        view="raw",
        evidence=evidence[:MAX_EVIDENCE_CHARACTERS],
    )
