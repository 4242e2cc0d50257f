"""Which interpreter reads the streams of which API, and how their events stand on the wire."""

from __future__ import annotations

from typing import Final

from proxies.llm.bedrock_frames import MEDIA_TYPE, ConverseFrames, InvokeFrames
from proxies.llm.converse_stream import ConverseStream
from proxies.llm.framing import JSONArray, JSONLines, ServerSentEvents
from proxies.llm.gemini_stream import GeminiStream
from proxies.llm.invoke_families import LlamaStream, TitanStream
from proxies.llm.ollama_stream import OllamaStream
from proxies.llm.streams import AnthropicStream, ChatStream, ResponsesStream
from proxies.llm.surfaces import INVOKED, Surface

Interpreter = (
    ChatStream | ResponsesStream | AnthropicStream | GeminiStream | OllamaStream | ConverseStream | LlamaStream
)
Framing = ServerSentEvents | JSONLines | ConverseFrames

_INTERPRETERS: Final[dict[Surface, type[Interpreter]]] = {
    Surface.OPENAI_CHAT: ChatStream,
    Surface.OPENAI_COMPLETIONS: ChatStream,
    Surface.OPENAI_RESPONSES: ResponsesStream,
    Surface.ANTHROPIC_MESSAGES: AnthropicStream,
    Surface.GEMINI: GeminiStream,
    Surface.OLLAMA_CHAT: OllamaStream,
    Surface.OLLAMA_GENERATE: OllamaStream,
    Surface.BEDROCK_CONVERSE: ConverseStream,
    Surface.BEDROCK_INVOKE: AnthropicStream,
    Surface.BEDROCK_LLAMA: LlamaStream,
    Surface.BEDROCK_TITAN: TitanStream,
}
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
_MEDIA_TYPES: Final = {
    Surface.OLLAMA_CHAT: LINES,
    Surface.OLLAMA_GENERATE: LINES,
    Surface.BEDROCK_CONVERSE: MEDIA_TYPE,
    **dict.fromkeys(INVOKED, MEDIA_TYPE),
}


def interpreter(surface: Surface) -> Interpreter | None:
    """A fresh interpreter for one stream of the surface; None where the surface has no streams."""
    made = _INTERPRETERS.get(surface)
    return made() if made else None


def stream_media_type(surface: Surface) -> str:
    """The media type of the surface's streams."""
    return _MEDIA_TYPES.get(surface, EVENTS)


def framing(surface: Surface, query: str) -> Framing:
    """A fresh framing for one stream of the surface, in the form that the client's query asks for."""
    if surface is Surface.BEDROCK_CONVERSE:
        return ConverseFrames()
    if surface in INVOKED:
        return InvokeFrames()
    if stream_media_type(surface) == LINES:
        return JSONLines()
    if surface is Surface.GEMINI and "alt=sse" not in query.split("&"):
        return JSONArray()
    return ServerSentEvents()
