"""Every text of an LLM request that can reach the model, with its target (requirements a2a-and-llm §3.1.1, LLM-SRF-3).

Members with a known meaning get their own target; every other string leaf is read as part of the prompt, so a member
that this module has never heard of cannot carry text past inspection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxies.json_texts import leaves, pointer, schema_leaves
from proxies.llm.converse_texts import converse_request
from proxies.llm.gemini_texts import gemini_content
from proxies.llm.invoke_families import llama_request, titan_request
from proxies.llm.ollama_texts import ollama_generate, ollama_member, ollama_message
from proxies.llm.payloads import payload_texts
from proxies.llm.surfaces import Surface
from proxies.llm.tool_texts import argument_texts, tool_call_texts, tool_texts
from proxies.llm.unread_texts import unread_texts
from rules.model import Target, Text

_ROLE_TARGETS: Final = {
    "system": Target.SYSTEM_PROMPT,
    "developer": Target.SYSTEM_PROMPT,
    "user": Target.PROMPT,
    "assistant": Target.COMPLETION,
    "tool": Target.TOOL_RESULT,
    "function": Target.TOOL_RESULT,
}
_CONFIGURATION: Final = frozenset({"model", "object"})
"""Top-level strings that choose behaviour and never reach the model as text."""


def request_texts(surface: Surface, body: dict[str, Any]) -> list[Text]:
    """The texts of one request body, in document order, and behind them what no shape names."""
    texts: list[Text] = []
    _SURFACES[surface](body, texts)
    unread_texts(body, texts)
    return texts


def _chat(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        if key == "messages" and type(value) is list:
            for index, message in enumerate(value):
                _message(message, f"/messages/{index}", texts)
        else:
            _other(key, value, texts)


def _completions(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        _other(key, value, texts)


def _anthropic(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        if key == "messages" and type(value) is list:
            for index, message in enumerate(value):
                _message(message, f"/messages/{index}", texts)
        elif key == "system":
            _content(value, Target.SYSTEM_PROMPT, "/system", texts)
        else:
            _other(key, value, texts)


def _responses(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        if key == "instructions":
            leaves(value, Target.SYSTEM_PROMPT, "/instructions", texts)
        elif key == "input" and type(value) is list:
            for index, item in enumerate(value):
                response_item(item, f"/input/{index}", texts)
        else:
            _other(key, value, texts)


def _other(key: str, value: Any, texts: list[Text]) -> None:
    """A top-level member without a shape of its own."""
    if key in ("tools", "functions") and type(value) is list:
        for index, tool in enumerate(value):
            tool_texts(tool, f"/{key}/{index}", texts)
    elif key in ("response_format", "text", "output_config"):
        schema_leaves(value, f"/{key}", texts)
    elif key not in _CONFIGURATION:
        leaves(value, Target.PROMPT, pointer("", key), texts)


def _message(message: Any, path: str, texts: list[Text]) -> None:
    """One message of Chat Completions or Anthropic Messages."""
    if type(message) is not dict:
        leaves(message, Target.PROMPT, path, texts)
        return
    target = _ROLE_TARGETS.get(str(message.get("role")), Target.PROMPT)
    for key, value in message.items():
        below = pointer(path, key)
        if key == "content":
            _content(value, target, below, texts)
        elif key == "tool_calls" and type(value) is list:
            for index, call in enumerate(value):
                tool_call_texts(call, f"{below}/{index}", texts, has_numbers=True)
        elif key == "function_call":
            tool_call_texts(value, below, texts, has_numbers=True)
        elif key != "role":
            leaves(value, target, below, texts)


def _content(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """A string, or a list of content parts or blocks."""
    if type(value) is str:
        texts.append(Text(target, path, value))
    elif type(value) is list:
        for index, part in enumerate(value):
            _part(part, target, f"{path}/{index}", texts)
    else:
        leaves(value, target, path, texts)


def _part(part: Any, target: Target, path: str, texts: list[Text]) -> None:
    if type(part) is not dict:
        leaves(part, target, path, texts)
        return
    kind = part.get("type")
    if kind in ("tool_use", "server_tool_use"):
        leaves(part.get("input"), Target.TOOL_ARGS, f"{path}/input", texts)
        leaves(part.get("name"), Target.TOOL_NAME, f"{path}/name", texts)
    elif kind == "tool_result":
        _content(part.get("content"), Target.TOOL_RESULT, f"{path}/content", texts)
    elif kind == "document":
        payload_texts(part, Target.DOCUMENT, path, texts)
    elif kind == "search_result":
        leaves(part, Target.DOCUMENT, path, texts)
    elif kind in ("text", "input_text", "output_text") and type(text := part.get("text")) is str:
        texts.append(Text(target, f"{path}/text", text))
        for key, value in part.items():
            if key not in ("type", "text", "cache_control"):
                leaves(value, target, pointer(path, key), texts)
    elif kind != "redacted_thinking":
        payload_texts(part, target, path, texts)


def response_item(item: Any, path: str, texts: list[Text]) -> None:
    """One input item of the Responses API."""
    if type(item) is not dict:
        leaves(item, Target.PROMPT, path, texts)
        return
    kind = str(item.get("type") or "message")
    if kind == "message":
        _message({key: value for key, value in item.items() if key not in ("type", "status", "id")}, path, texts)
        return
    for key, value in item.items():
        below = pointer(path, key)
        if key in ("type", "id", "call_id", "status", "encrypted_content"):
            continue
        if key == "name":
            leaves(value, Target.TOOL_NAME, below, texts)
        elif key == "arguments":
            argument_texts(value, below, texts, has_numbers=True)
        elif key == "output" or kind.endswith("_output"):
            payload_texts(value, Target.TOOL_RESULT, below, texts)
        elif kind == "reasoning":
            leaves(value, Target.COMPLETION, below, texts)
        else:
            leaves(value, Target.TOOL_ARGS if kind.endswith("_call") else Target.PROMPT, below, texts)


def _gemini(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        if key == "contents" and type(value) is list:
            for index, content in enumerate(value):
                gemini_content(content, Target.PROMPT, f"/contents/{index}", texts)
        elif key in ("contents", "systemInstruction", "system_instruction"):
            target = Target.PROMPT if key == "contents" else Target.SYSTEM_PROMPT
            gemini_content(value, target, pointer("", key), texts)
        elif key == "tools" and type(value) is list:
            for index, tool in enumerate(value):
                _gemini_tools(tool, f"/tools/{index}", texts)
        elif key in ("generationConfig", "generation_config"):
            schema_leaves(value, pointer("", key), texts)
        elif key != "model":
            leaves(value, Target.PROMPT, pointer("", key), texts)


def _gemini_tools(tool: Any, path: str, texts: list[Text]) -> None:
    if type(tool) is not dict:
        leaves(tool, Target.TOOL_DESCRIPTION, path, texts)
        return
    for key, value in tool.items():
        below = pointer(path, key)
        if key in ("functionDeclarations", "function_declarations") and type(value) is list:
            for index, declaration in enumerate(value):
                tool_texts(declaration, f"{below}/{index}", texts)
        else:
            leaves(value, Target.SCHEMA, below, texts)


def _ollama_chat(body: dict[str, Any], texts: list[Text]) -> None:
    for key, value in body.items():
        if key == "messages" and type(value) is list:
            for index, message in enumerate(value):
                path = f"/messages/{index}"
                if type(message) is dict:
                    target = _ROLE_TARGETS.get(str(message.get("role")), Target.PROMPT)
                    ollama_message(message, target, path, texts)
                else:
                    leaves(message, Target.PROMPT, path, texts)
        else:
            ollama_member(key, value, texts)


_SURFACES: Final[dict[Surface, Callable[[dict[str, Any], list[Text]], None]]] = {
    Surface.OPENAI_CHAT: _chat,
    Surface.OPENAI_COMPLETIONS: _completions,
    Surface.OPENAI_RESPONSES: _responses,
    Surface.ANTHROPIC_MESSAGES: _anthropic,
    Surface.GEMINI: _gemini,
    Surface.OLLAMA_CHAT: _ollama_chat,
    Surface.OLLAMA_GENERATE: ollama_generate,
    Surface.OLLAMA_EMBED: ollama_generate,
    Surface.OLLAMA_SHOW: ollama_generate,
    Surface.BEDROCK_CONVERSE: converse_request,
    Surface.BEDROCK_INVOKE: _anthropic,
    Surface.BEDROCK_LLAMA: llama_request,
    Surface.BEDROCK_TITAN: titan_request,
}
