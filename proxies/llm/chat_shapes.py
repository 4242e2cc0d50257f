"""How a chunk of Chat Completions says more of one of its texts, for the pieces that the gateway adds."""

from __future__ import annotations

from typing import Any


def nested(path: tuple[str, ...], text: str) -> dict[str, Any]:
    """A text below these members."""
    value: Any = text
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def text_part(text: str) -> dict[str, Any]:
    """A piece of content in parts."""
    return {"delta": {"content": [{"type": "text", "text": text}]}}


def numbered(place: str, number: int) -> str:
    """The place of one of several calls that share an index."""
    return f"{place}.{number}" if number else place


def tool_delta(named: dict[str, Any], kind: str, member: str, text: str) -> dict[str, Any]:
    """A piece of the arguments of a call."""
    return {"delta": {"tool_calls": [{**named, kind: {member: text}}]}}


def reasoning_delta(named: dict[str, Any], member: str, text: str) -> dict[str, Any]:
    """A piece of OpenRouter's reasoning."""
    return {"delta": {"reasoning_details": [{**named, member: text}]}}
