"""The texts of Ollama's own API, in requests and in answers (requirements a2a-and-llm §3.1).

Messages and tools have the form of Chat Completions; images stand beside them as bare base64.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.json_texts import leaves, pointer, schema_leaves
from proxies.llm.tool_texts import tool_call_texts, tool_texts
from rules.model import Target, Text

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
IMAGES: Final = frozenset({"images", "image"})
_MEASURES: Final = frozenset({"model", "created_at", "done_reason", "logprobs"})
"""Members of an answer that are no text."""


def ollama_generate(body: dict[str, Any], texts: list[Text]) -> None:
    """A request for a completion. A template frames the whole prompt, so it is read as strictly as the prompt."""
    for key, value in body.items():
        if key == "system":
            leaves(value, Target.SYSTEM_PROMPT, "/system", texts)
        else:
            ollama_member(key, value, texts)


def ollama_member(key: str, value: Any, texts: list[Text]) -> None:
    """A top-level member of a request that has no shape of its own."""
    if key == "tools" and type(value) is list:
        for index, tool in enumerate(value):
            tool_texts(tool, f"/tools/{index}", texts)
    elif key == "format":
        schema_leaves(value, "/format", texts)
    elif key in IMAGES:
        image_texts(value, Target.PROMPT, pointer("", key), texts)
    elif key != "model":
        leaves(value, Target.PROMPT, pointer("", key), texts)


def ollama_message(message: dict[str, Any], target: Target, path: str, texts: list[Text]) -> None:
    """One message, in the history or in an answer: what it says, what it thinks, the tools that it calls."""
    for key, value in message.items():
        below = pointer(path, key)
        if key == "tool_calls" and type(value) is list:
            for index, call in enumerate(value):
                tool_call_texts(call, f"{below}/{index}", texts)
        elif key == "tool_name":
            leaves(value, Target.TOOL_NAME, below, texts)
        elif key in IMAGES:
            image_texts(value, target, below, texts)
        elif key != "role":
            leaves(value, target, below, texts)


def ollama_answer(body: dict[str, Any], texts: list[Text]) -> None:
    """A whole answer of a chat, a completion or an embedding."""
    for key, value in body.items():
        below = pointer("", key)
        if key == "message" and type(value) is dict:
            ollama_message(value, Target.COMPLETION, below, texts)
        elif key == "tool_calls" and type(value) is list:
            for index, call in enumerate(value):
                tool_call_texts(call, f"{below}/{index}", texts)
        elif key in IMAGES:
            image_texts(value, Target.COMPLETION, below, texts)
        elif key not in _MEASURES:
            leaves(value, Target.COMPLETION, below, texts)


def image_texts(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """What stands in the place of images and is no base64. The upstream decodes the rest and reads no text in it."""
    if type(value) is list:
        for index, member in enumerate(value):
            image_texts(member, target, f"{path}/{index}", texts)
    elif type(value) is not str or not value.isascii() or value.encode().translate(None, _BASE64):
        leaves(value, target, path, texts)
