"""One message as policies see it, without a connection: what the console's playground judges. Pure.

The same readers as on the wire find the texts, so that what is tried out is what happens. Which protocol a value is
in follows from its shape.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from proxies.llm.facts import messages_and_calls, response_tool_calls
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts
from proxies.llm.surfaces import Surface
from proxies.mcp.facts import HOUSEKEEPING
from proxies.mcp.messages import MessageRefused, parse_message
from proxies.mcp.texts import error_texts, result_texts
from proxies.mcp.texts import request_texts as mcp_request_texts
from rules.facts import Facts, ToolCall
from rules.model import Text

__all__ = ["HOUSEKEEPING", "Reading", "UnknownMessage", "declared_texts", "read_message"]


class UnknownMessage(ValueError):
    """The value is no message that a proxy would read; the message says why."""


class Reading(NamedTuple):
    """A message that was understood."""

    protocol: str
    direction: Literal["request", "response"]
    texts: list[Text]
    facts: Facts


def read_message(value: Any) -> Reading:
    """Texts and facts of a JSON value: a JSON-RPC message, or a request or answer of an LLM API. Raises UnknownMessage."""
    if not isinstance(value, dict):
        raise UnknownMessage("A message is a JSON object.")
    if "jsonrpc" in value:
        return _mcp(value)
    if isinstance(value.get("messages"), list):
        surface = Surface.ANTHROPIC_MESSAGES if _is_anthropic(value) else Surface.OPENAI_CHAT
        return _llm_request(surface, value)
    if "input" in value:
        return _llm_request(Surface.OPENAI_RESPONSES, value)
    if "contents" in value:
        return _llm_request(Surface.GEMINI, value)
    for member, surface in (
        ("candidates", Surface.GEMINI),
        ("choices", Surface.OPENAI_CHAT),
        ("output", Surface.OPENAI_RESPONSES),
        ("content", Surface.ANTHROPIC_MESSAGES),
    ):
        if isinstance(value.get(member), list):
            texts = response_texts(surface, value)
            calls = tuple(response_tool_calls(value))
            facts = Facts(phase="response", model=_word(value.get("model")), tool_calls=calls, texts=texts)
            return Reading(surface.value, "response", texts, facts)
    raise UnknownMessage("This is neither a JSON-RPC message nor a request or answer of an LLM API.")


def declared_texts(result: dict[str, Any]) -> list[Text]:
    """Every text of tools, prompts, resources and templates, as lists in one result."""
    return result_texts("tools/list", result)


def _llm_request(surface: Surface, body: dict[str, Any]) -> Reading:
    texts = request_texts(surface, body)
    messages, calls = messages_and_calls(body)
    facts = Facts(model=_word(body.get("model")), messages=messages, tool_calls=calls, texts=texts)
    return Reading(surface.value, "request", texts, facts)


def _mcp(value: dict[str, Any]) -> Reading:
    try:
        message = parse_message(value)
    except MessageRefused as error:
        raise UnknownMessage(str(error)) from error
    if message.kind == "response":
        texts = error_texts(message.error) if message.error is not None else result_texts(None, message.result or {})
        return Reading("mcp", "response", texts, Facts(phase="response", kind="mcp", texts=texts))
    texts = mcp_request_texts(message)
    method, params = message.method or "", message.params or {}
    calls: tuple[ToolCall, ...] = ()
    if method == "tools/call":
        calls = (ToolCall(_word(params.get("name")), params.get("arguments"), "/params"),)
    return Reading(
        "mcp",
        "request",
        texts,
        Facts(kind="mcp", acts=method not in HOUSEKEEPING, method=method, tool_calls=calls, texts=texts),
    )


def _is_anthropic(body: dict[str, Any]) -> bool:
    """Whether the request is Anthropic's: a system prompt beside the messages, or blocks that only its API has."""
    if "system" in body:
        return True
    blocks = (
        block
        for message in body["messages"]
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for block in message["content"]
        if isinstance(block, dict)
    )
    return any(block.get("type") in ("tool_use", "tool_result", "thinking", "document") for block in blocks)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
