"""Texts that stand in a body as tokens of a model, where no rule can read them (LLM-SRF-4).

Ollama's completions give a conversation back as `context` and take it again. It holds what rules have taken out of the text
beside it, and anybody can put anything into it. OpenAI's completions take a prompt as tokens. Neither passes where rules are
enforced.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.llm.surfaces import Surface
from proxies.pipeline import has_rules
from proxies.refusal import Refusal

TOKENS: Final = "context"
_SURFACES: Final = frozenset({Surface.OLLAMA_GENERATE, Surface.OPENAI_COMPLETIONS})


def may_hide(exchange: Exchange, surface: Surface) -> bool:
    """Whether bodies of this API may hold tokens that must not pass."""
    if surface not in _SURFACES or exchange.proxy.config.enforcement == "log_only":
        return False
    return has_rules(exchange)


def refuse_tokens(request: dict[str, Any]) -> None:
    """Raise `Refusal` for a request that holds tokens; an empty conversation is taken out."""
    prompts = request.get("prompt")
    if type(prompts) is list and any(type(prompt) is not str for prompt in prompts):
        raise _not_readable("prompt", "Send the prompt as text.")
    tokens = request.get(TOKENS)
    if type(tokens) is list:
        if tokens:
            raise _not_readable(TOKENS, "Send the conversation as messages to /api/chat.")
        del request[TOKENS]


def forget_tokens(answer: dict[str, Any]) -> None:
    """Take the tokens out of an answer."""
    if type(answer.get(TOKENS)) is list:
        del answer[TOKENS]


def refuse_vocabulary(request: dict[str, Any]) -> None:
    """Raise `Refusal` where Ollama is asked to describe a model with its vocabulary: hundreds of thousands of texts."""
    if request.get("verbose"):
        raise Refusal(
            422,
            "verbose_not_supported",
            "A verbose description holds the whole vocabulary of the model, which is too much to be inspected.",
            remediation="Leave 'verbose' out: everything else about the model is told without it.",
        )


def _not_readable(member: str, remediation: str) -> Refusal:
    message = f"The member '{member}' holds tokens, which cannot be inspected."
    return Refusal(400, "tokens_not_readable", message, remediation=remediation)
