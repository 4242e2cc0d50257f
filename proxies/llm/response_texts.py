"""Every text of a whole LLM answer, with its target (requirements a2a-and-llm §3.1.2), and the usage it reports."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final

from proxies.contract import Usage
from proxies.json_texts import leaves, pointer
from proxies.llm.converse_texts import converse_answer
from proxies.llm.gemini_texts import gemini_content
from proxies.llm.invoke_families import llama_answer, titan_answer
from proxies.llm.ollama_texts import ollama_answer
from proxies.llm.surfaces import Surface
from proxies.llm.tool_texts import argument_texts, tool_call_texts
from proxies.llm.unread_answers import UnreadAnswer
from proxies.llm.usage import (
    anthropic_usage,
    converse_usage,
    gemini_usage,
    llama_usage,
    ollama_usage,
    openai_usage,
    titan_usage,
)
from rules.model import Target, Text

_NOT_TEXT: Final = frozenset(
    {"id", "object", "model", "type", "role", "status", "usage", "logprobs", "system_fingerprint", "finish_reason"}
)


_USAGE: Final = {
    Surface.ANTHROPIC_MESSAGES: anthropic_usage,
    Surface.BEDROCK_CONVERSE: converse_usage,
    Surface.BEDROCK_INVOKE: anthropic_usage,
}
_USAGE_OF_BODY: Final = {
    Surface.OLLAMA_CHAT: ollama_usage,
    Surface.OLLAMA_GENERATE: ollama_usage,
    Surface.OLLAMA_EMBED: ollama_usage,
    Surface.BEDROCK_LLAMA: llama_usage,
    Surface.BEDROCK_TITAN: titan_usage,
}
"""Of APIs whose counts stand in the answer itself."""
_ECHOED: Final = ("instructions", "tools", "text", "tool_choice", "metadata", "reasoning", "prompt", "user")
"""What an answer of the Responses API repeats of its request, or says of a prompt that the provider keeps."""
_LISTS: Final = frozenset({Surface.MODELS, Surface.OLLAMA_SHOW})
"""Answers of which all is read, and whose numbers are sizes."""


def response_texts(surface: Surface, body: Any, sent: Container[str] | None = None) -> list[Text]:
    """The texts of one answer body, and behind them what no shape names; without those that only repeat what was `sent`."""
    texts: list[Text] = []
    if type(body) is dict:
        _SURFACES[surface](body, texts)
        if surface not in _LISTS:
            texts += UnreadAnswer().texts(body, [*texts, *echoed_texts(surface, body, sent)])
    else:
        leaves(body, Target.COMPLETION, "", texts)
    return texts


def echoed_texts(surface: Surface, body: Any, sent: Container[str] | None, path: str = "") -> list[Text]:
    """What an answer repeats of the request: already inspected, but masked values in it go back to their sender.

    What was not `sent` the upstream has written; where that is not known, all is taken for repeated.
    """
    texts: list[Text] = []
    if surface is Surface.OPENAI_RESPONSES and type(body) is dict:
        for key in _ECHOED:
            leaves(body.get(key), Target.PROMPT, f"{path}/{key}", texts)
    return texts if sent is None else [text for text in texts if text.text in sent]


def repeatable_texts(surface: Surface, document: dict[str, Any]) -> frozenset[str]:
    """What the answer to a request may repeat of it."""
    return frozenset([text.text for text in echoed_texts(surface, document, None)])


def response_usage(surface: Surface, body: Any) -> Usage | None:
    """The usage of one answer body, if it reports any."""
    if type(body) is not dict:
        return None
    if surface is Surface.GEMINI:
        return gemini_usage(body.get("usageMetadata"))
    if (counted := _USAGE_OF_BODY.get(surface)) is not None:
        return counted(body)
    reported = body.get("usage")
    return _USAGE.get(surface, openai_usage)(reported)


def _chat(body: dict[str, Any], texts: list[Text]) -> None:
    choices = body.get("choices")
    if type(choices) is list:
        for index, choice in enumerate(choices):
            if type(choice) is dict:
                _chat_message(choice.get("message"), f"/choices/{index}/message", texts)
                _rest(choice, f"/choices/{index}", ("message", "index"), texts)
    _rest(body, "", ("choices",), texts)


def _chat_message(message: Any, path: str, texts: list[Text]) -> None:
    if type(message) is not dict:
        leaves(message, Target.COMPLETION, path, texts)
        return
    for key, value in message.items():
        below = pointer(path, key)
        if key == "tool_calls" and type(value) is list:
            for index, call in enumerate(value):
                tool_call_texts(call, f"{below}/{index}", texts, has_numbers=True)
        elif key == "function_call":
            tool_call_texts(value, below, texts, has_numbers=True)
        elif key == "audio" and type(value) is dict:
            leaves(value.get("transcript"), Target.COMPLETION, f"{below}/transcript", texts)
        elif key != "role":
            leaves(value, Target.COMPLETION, below, texts)


def _responses(body: dict[str, Any], texts: list[Text]) -> None:
    output = body.get("output")
    if type(output) is list:
        for index, item in enumerate(output):
            output_item_texts(item, f"/output/{index}", texts)
    _rest(body, "", ("output", *_ECHOED), texts)


def output_item_texts(item: Any, path: str, texts: list[Text]) -> None:
    """One item of a Responses `output`: message text, tool-call arguments, tool output."""
    if type(item) is not dict:
        leaves(item, Target.COMPLETION, path, texts)
        return
    kind = str(item.get("type"))
    for key, value in item.items():
        below = pointer(path, key)
        if key in ("id", "call_id", "type", "status", "role", "encrypted_content", "result"):
            continue
        if key == "arguments":
            argument_texts(value, below, texts, has_numbers=True)
        elif key == "name":
            leaves(value, Target.TOOL_NAME, below, texts)
        elif key == "output":
            leaves(value, Target.TOOL_RESULT, below, texts)
        elif key == "content" and type(value) is list:
            for index, part in enumerate(value):
                _output_part(part, f"{below}/{index}", texts)
        else:
            leaves(value, Target.TOOL_ARGS if kind.endswith("_call") else Target.COMPLETION, below, texts)


def _output_part(part: Any, path: str, texts: list[Text]) -> None:
    if type(part) is dict:
        part = {key: value for key, value in part.items() if key not in ("type", "logprobs")}
    leaves(part, Target.COMPLETION, path, texts)


def _anthropic(body: dict[str, Any], texts: list[Text]) -> None:
    content = body.get("content")
    if type(content) is list:
        for index, block in enumerate(content):
            block_texts(block, f"/content/{index}", texts)
    _rest(body, "", ("content", "stop_reason"), texts)


def block_texts(block: Any, path: str, texts: list[Text]) -> None:
    """One Anthropic content block."""
    if type(block) is not dict:
        leaves(block, Target.COMPLETION, path, texts)
        return
    kind = str(block.get("type"))
    if kind == "redacted_thinking":
        return
    for key, value in block.items():
        below = pointer(path, key)
        if key in ("type", "id", "tool_use_id", "signature"):
            continue
        if key == "input":
            leaves(value, Target.TOOL_ARGS, below, texts)
        elif key == "name":
            leaves(value, Target.TOOL_NAME, below, texts)
        else:
            leaves(value, Target.TOOL_RESULT if kind.endswith("_result") else Target.COMPLETION, below, texts)


def _gemini(body: dict[str, Any], texts: list[Text]) -> None:
    candidates = body.get("candidates")
    if type(candidates) is list:
        for index, candidate in enumerate(candidates):
            if type(candidate) is dict:
                path = f"/candidates/{index}"
                gemini_content(candidate.get("content"), Target.COMPLETION, f"{path}/content", texts)
                _rest(candidate, path, ("content", "finishReason", "logprobsResult"), texts)
    _rest(body, "", ("candidates", "usageMetadata", "modelVersion", "responseId"), texts)


def _models(body: dict[str, Any], texts: list[Text]) -> None:
    leaves(body, Target.COMPLETION, "", texts)


def _rest(value: dict[str, Any], path: str, known: tuple[str, ...], texts: list[Text]) -> None:
    """Members that no shape names are read all the same: an upstream cannot hide text in one."""
    for key, member in value.items():
        if key not in known and key not in _NOT_TEXT:
            leaves(member, Target.COMPLETION, pointer(path, key), texts)


_SURFACES: Final[dict[Surface, Callable[[dict[str, Any], list[Text]], None]]] = {
    Surface.OPENAI_CHAT: _chat,
    Surface.OPENAI_COMPLETIONS: _chat,
    Surface.OPENAI_RESPONSES: _responses,
    Surface.ANTHROPIC_MESSAGES: _anthropic,
    Surface.GEMINI: _gemini,
    Surface.OLLAMA_CHAT: ollama_answer,
    Surface.OLLAMA_GENERATE: ollama_answer,
    Surface.OLLAMA_EMBED: ollama_answer,
    Surface.OLLAMA_SHOW: _models,
    Surface.BEDROCK_CONVERSE: converse_answer,
    Surface.BEDROCK_INVOKE: _anthropic,
    Surface.BEDROCK_LLAMA: llama_answer,
    Surface.BEDROCK_TITAN: titan_answer,
    Surface.MODELS: _models,
}
