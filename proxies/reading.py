"""One message as policies see it, without a connection: what the console's playground judges. Pure.

The same readers as on the wire find the texts, so that what is tried out is what happens. Which protocol a value is
in follows from its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from proxies.llm.facts import messages_and_calls, response_tool_calls
from proxies.llm.invoke_families import invoked_surface
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts
from proxies.llm.surfaces import Surface
from proxies.mcp.facts import HOUSEKEEPING
from proxies.mcp.messages import MessageRefused, parse_message
from proxies.mcp.texts import error_texts, result_texts
from proxies.mcp.texts import request_texts as mcp_request_texts
from proxies.shown_places import hidden_names, shown_place
from proxies.steps.mask import NotMaskable, is_fixed, settled_places
from rules.facts import Facts, ToolCall
from rules.model import Finding, Text

__all__ = [
    "HOUSEKEEPING",
    "Reading",
    "UnknownMessage",
    "declared_texts",
    "is_fixed",
    "read_message",
    "unmaskable_place",
]

_ANSWERS: Final[tuple[tuple[str, type, Surface], ...]] = (
    ("choices", list, Surface.OPENAI_CHAT),
    ("output", list, Surface.OPENAI_RESPONSES),
    ("output", dict, Surface.BEDROCK_CONVERSE),
    ("content", list, Surface.ANTHROPIC_MESSAGES),
    ("candidates", list, Surface.GEMINI),
    ("message", dict, Surface.OLLAMA_CHAT),
    ("response", str, Surface.OLLAMA_GENERATE),
    ("generation", str, Surface.BEDROCK_LLAMA),
    ("results", list, Surface.BEDROCK_TITAN),
)
"""By which member, of which kind, an answer is known."""
_OLLAMA: Final = frozenset({"format", "images", "keep_alive", "options", "raw", "template", "think"})
"""Members of requests that only Ollama's own API has. Its `context` is none of them: what a firewall checks has that name."""
_SHARED: Final = frozenset({"context", "model", "prompt", "stream", "suffix"})
"""Members that a completion has in Ollama's API and in OpenAI's; OpenAI's sampling stands beside them, Ollama's in `options`."""
_OPENAI_MODELS: Final = ("babbage-", "davinci-", "ft:", "gpt-", "text-")


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
    if (surface := _request_surface(value)) is not None:
        return _llm_request(surface, value)
    for member, kind, surface in _ANSWERS:
        if isinstance(value.get(member), kind):
            texts = response_texts(surface, value)
            calls = tuple(response_tool_calls(value))
            facts = Facts(phase="response", model=_word(value.get("model")), tool_calls=calls, texts=texts)
            return Reading(surface.value, "response", texts, facts)
    raise UnknownMessage("This is neither a JSON-RPC message nor a request or answer of an LLM API.")


def declared_texts(result: dict[str, Any]) -> list[Text]:
    """Every text of tools, prompts, resources and templates, as lists in one result."""
    return result_texts("tools/list", result)


def unmaskable_place(document: Any, texts: Sequence[Text], found: Sequence[Finding]) -> str:
    """Where a value to mask stands that a request refuses because nothing can be changed there; empty for nowhere."""
    try:
        settled_places(document, texts, found)
    except NotMaskable as stuck:
        return shown_place(stuck.path, hidden_names(found))
    return ""


def _request_surface(value: dict[str, Any]) -> Surface | None:
    """The API whose request this is; None for none."""
    if isinstance(value.get("messages"), list):
        if _is_converse(value):
            return Surface.BEDROCK_CONVERSE
        if _is_ollama_chat(value):
            return Surface.OLLAMA_CHAT
        return Surface.ANTHROPIC_MESSAGES if _is_anthropic(value) else Surface.OPENAI_CHAT
    if isinstance(value.get("contents"), (list, dict)):
        return Surface.GEMINI
    if "input" in value:
        return Surface.OPENAI_RESPONSES if _OLLAMA.isdisjoint(value) else Surface.OLLAMA_EMBED
    if invoked_surface(value) is Surface.BEDROCK_TITAN:
        return Surface.BEDROCK_TITAN
    if isinstance(value.get("prompt"), (str, list)):
        if "max_gen_len" in value and invoked_surface(value) is Surface.BEDROCK_LLAMA:
            return Surface.BEDROCK_LLAMA
        return Surface.OLLAMA_GENERATE if _is_ollama_completion(value) else Surface.OPENAI_COMPLETIONS
    return None


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
    kinds = ("tool_use", "tool_result", "thinking", "document")
    return "system" in body or any(block.get("type") in kinds for block in _blocks(body))


def _is_ollama_chat(body: dict[str, Any]) -> bool:
    """Whether the request is a chat of Ollama's own API: by its members, or by those that only its messages have."""
    if not _OLLAMA.isdisjoint(body):
        return True
    return any(
        isinstance(message, dict) and ("images" in message or "tool_name" in message) for message in body["messages"]
    )


def _is_ollama_completion(body: dict[str, Any]) -> bool:
    """Whether the request is Ollama's: by its members, or because it has a model of its own and no sampling beside it."""
    if "system" in body or not _OLLAMA.isdisjoint(body):
        return True
    model = _word(body.get("model"))
    is_plain = isinstance(body["prompt"], str) and _SHARED.issuperset(body)
    return is_plain and model != "" and not model.startswith(_OPENAI_MODELS)


def _is_converse(body: dict[str, Any]) -> bool:
    """Whether the request is one of Bedrock's Converse, whose blocks have no type."""
    return any("type" not in block for block in _blocks(body))


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        block
        for message in body["messages"]
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for block in message["content"]
        if isinstance(block, dict)
    ]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
