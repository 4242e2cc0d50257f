"""Conversations that stand in a body as tokens of a model, where no rule can read them (LLM-SRF-4).

Ollama's completions give one back as `context` and take it again. It holds what rules have taken out of the text beside
it, and anybody can put anything into it. So it passes only where nothing is read or enforced.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.llm.surfaces import Surface
from proxies.pipeline import has_rules
from proxies.refusal import Refusal

TOKENS: Final = "context"


def may_hide(exchange: Exchange, surface: Surface) -> bool:
    """Whether bodies of this API may hold tokens that must not pass."""
    if surface is not Surface.OLLAMA_GENERATE or exchange.proxy.config.enforcement == "log_only":
        return False
    return has_rules(exchange)


def refuse_tokens(request: dict[str, Any]) -> None:
    """Raise `Refusal` for a request that goes on with tokens; an empty list is taken out."""
    tokens = request.get(TOKENS)
    if type(tokens) is not list:
        return
    if tokens:
        raise Refusal(
            400,
            "tokens_not_readable",
            f"The member '{TOKENS}' holds a conversation as tokens, which cannot be inspected.",
            remediation="Send the conversation as messages to /api/chat.",
        )
    del request[TOKENS]


def forget_tokens(answer: dict[str, Any]) -> None:
    """Take the tokens out of an answer."""
    if type(answer.get(TOKENS)) is list:
        del answer[TOKENS]
