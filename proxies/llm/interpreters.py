"""Which interpreter reads the streams of which API."""

from __future__ import annotations

from typing import Final

from proxies.llm.gemini_stream import GeminiStream
from proxies.llm.streams import AnthropicStream, ChatStream, ResponsesStream
from proxies.llm.surfaces import Surface

Interpreter = ChatStream | ResponsesStream | AnthropicStream | GeminiStream

_INTERPRETERS: Final[dict[Surface, type[Interpreter]]] = {
    Surface.OPENAI_CHAT: ChatStream,
    Surface.OPENAI_RESPONSES: ResponsesStream,
    Surface.ANTHROPIC_MESSAGES: AnthropicStream,
    Surface.GEMINI: GeminiStream,
}


def interpreter(surface: Surface) -> Interpreter | None:
    """A fresh interpreter for one stream of the surface; None where the surface has no streams."""
    made = _INTERPRETERS.get(surface)
    return made() if made else None
