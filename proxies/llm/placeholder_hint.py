"""A sentence in the system prompt that asks the model to copy placeholders exactly (RED-PH-5).

A policy asks for it. Small models translate, shorten or decline what stands in brackets, and then nothing can be put back.
The sentence is added behind the caller's own instructions and only to requests in which values were masked.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.llm.surfaces import Surface

SENTENCE: Final = (
    "Some values were replaced by tokens in square brackets, such as [EMAIL_k3v9x2mq]. Wherever you use such a value, copy "
    "its token exactly, brackets included, and never change, translate, shorten or explain it."
)
_SEPARATOR: Final = "\n\n"
_SYSTEM_ROLES: Final = ("system", "developer")


def add_hint(surface: Surface, document: dict[str, Any]) -> None:
    """Add the sentence in place. Instructions in a shape of their own are left for the upstream to judge."""
    if surface is Surface.OPENAI_CHAT:
        _to_chat(document)
    elif surface is Surface.OPENAI_RESPONSES:
        to_member(document, "instructions")
    elif surface in (Surface.ANTHROPIC_MESSAGES, Surface.BEDROCK_INVOKE):
        to_member(document, "system")
    elif surface is Surface.GEMINI:
        _to_gemini(document)
    elif surface is Surface.BEDROCK_CONVERSE:
        _to_converse(document)
    elif surface is Surface.OLLAMA_CHAT:
        _to_ollama_chat(document)
    elif surface is Surface.OLLAMA_GENERATE:
        _to_ollama_prompt(document)


def _to_chat(document: dict[str, Any]) -> None:
    messages = document.get("messages")
    if type(messages) is not list:
        return
    first = messages[0] if messages else None
    if type(first) is dict and first.get("role") in _SYSTEM_ROLES and type(first.get("content")) in (str, list):
        to_member(first, "content")
    else:
        messages.insert(0, {"role": "system", "content": SENTENCE})


def to_member(holder: dict[str, Any], name: str) -> None:
    """Behind a text, or as one more block of a list."""
    there = holder.get(name)
    if there is None:
        holder[name] = SENTENCE
    elif type(there) is str:
        holder[name] = f"{there}{_SEPARATOR}{SENTENCE}" if there else SENTENCE
    elif type(there) is list:
        there.append({"type": "text", "text": SENTENCE})


def _to_gemini(document: dict[str, Any]) -> None:
    name = "system_instruction" if "system_instruction" in document else "systemInstruction"
    there = document.get(name)
    if type(there) is dict and type(there.get("parts")) is list:
        there["parts"].append({"text": SENTENCE})
    elif there is None:
        document[name] = {"parts": [{"text": SENTENCE}]}


def _to_converse(document: dict[str, Any]) -> None:
    if type(there := document.setdefault("system", [])) is list:
        there.append({"text": SENTENCE})


def _to_ollama_chat(document: dict[str, Any]) -> None:
    """Behind the caller's instructions, or before what it asks: a system message would replace that of the model."""
    messages = document.get("messages")
    if type(messages) is not list:
        return
    first = messages[0] if messages else None
    if type(first) is dict and type(first.get("content")) is str:
        if first.get("role") in _SYSTEM_ROLES:
            to_member(first, "content")
        else:
            _before(first, "content")


def _to_ollama_prompt(document: dict[str, Any]) -> None:
    """The same for a completion. One without a template is left as it is: its prompt has a form of its own."""
    if document.get("system"):
        to_member(document, "system")
    elif document.get("raw") is not True and type(document.get("prompt")) is str:
        _before(document, "prompt")


def _before(holder: dict[str, Any], name: str) -> None:
    holder[name] = f"{SENTENCE}{_SEPARATOR}{holder[name]}"
