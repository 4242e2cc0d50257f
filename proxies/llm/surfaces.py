"""Which LLM APIs pass, by method and path. Everything else is refused: an endpoint nobody reads cannot be inspected."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import msgspec

from proxies.transport.headers import Headers


class Surface(Enum):
    """One API whose requests and answers the gateway can read. The value is the protocol name in records."""

    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_REALTIME = "openai.realtime"
    ANTHROPIC_MESSAGES = "anthropic.messages"
    GEMINI = "gemini.generate"
    OLLAMA_CHAT = "ollama.chat"
    OLLAMA_GENERATE = "ollama.generate"
    OLLAMA_EMBED = "ollama.embed"
    OLLAMA_SHOW = "ollama.show"
    BEDROCK_CONVERSE = "bedrock.converse"
    BEDROCK_INVOKE = "bedrock.invoke"
    BEDROCK_LLAMA = "bedrock.llama"
    BEDROCK_TITAN = "bedrock.titan"
    MODELS = "llm.models"

    __hash__ = object.__hash__
    """Every call asks several tables about its surface, and the enumeration's own hash is a function of Python."""


class Route(msgspec.Struct, frozen=True):
    """A recognised call: its surface and the path below the API's version prefix."""

    surface: Surface
    path: str
    """`/v1/...`, whatever spelling the client used; `/v1beta/...` for Gemini, `/api/...` for Ollama, `/model/...` for Bedrock."""
    model: str = ""
    """Where the path names it (Gemini, Bedrock)."""
    streams: bool = False
    """Whether the path asks for a stream (Gemini, Bedrock); elsewhere the body does."""


_POST: Final = {
    "/v1/chat/completions": Surface.OPENAI_CHAT,
    "/v1/completions": Surface.OPENAI_COMPLETIONS,
    "/v1/responses": Surface.OPENAI_RESPONSES,
    "/v1/messages": Surface.ANTHROPIC_MESSAGES,
}
_OLLAMA_POST: Final = {
    "/api/chat": Surface.OLLAMA_CHAT,
    "/api/generate": Surface.OLLAMA_GENERATE,
    "/api/embed": Surface.OLLAMA_EMBED,
    "/api/embeddings": Surface.OLLAMA_EMBED,
    "/api/show": Surface.OLLAMA_SHOW,
}
_OLLAMA_LISTS: Final = frozenset({"/api/tags", "/api/ps", "/api/version"})
_OLLAMA_MANAGEMENT: Final = re.compile(r"/api/(?:pull|push|create|copy|delete|blobs/.*)")
STREAMS_UNASKED: Final = frozenset({Surface.OLLAMA_CHAT, Surface.OLLAMA_GENERATE})
"""APIs that stream unless the body says `"stream": false`."""
INVOKED: Final = frozenset({Surface.BEDROCK_INVOKE, Surface.BEDROCK_LLAMA, Surface.BEDROCK_TITAN})
"""What a call of InvokeModel turns out to be by its body."""
STREAMS_BY_PATH: Final = frozenset({Surface.GEMINI, Surface.BEDROCK_CONVERSE, *INVOKED})
"""APIs whose body has no say in it."""
_MODEL_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


_GEMINI: Final = re.compile(
    r"/(v1beta|v1alpha|v1)/models/([A-Za-z0-9_.-]{1,200}):(generateContent|streamGenerateContent|countTokens)"
)
_BEDROCK: Final = re.compile(r"/model/((?:[A-Za-z0-9_.:-]|%3[Aa]|%2[Ff]){1,400})/([a-z-]{1,40})")
_BEDROCK_CALLS: Final = {
    "converse": (Surface.BEDROCK_CONVERSE, False),
    "converse-stream": (Surface.BEDROCK_CONVERSE, True),
    "invoke": (Surface.BEDROCK_INVOKE, False),
    "invoke-with-response-stream": (Surface.BEDROCK_INVOKE, True),
}
_GEMINI_MODELS: Final = re.compile(r"/(v1beta|v1alpha)/models(/[A-Za-z0-9_.-]{1,200})?")


@lru_cache(maxsize=256)
def find_route(method: str, path: str) -> Route | None:
    """The route for a request, or None. A base URL with or without `/v1` works. Clients ask for few paths, each often."""
    if method == "POST" and (match := _GEMINI.fullmatch(path)):
        return Route(Surface.GEMINI, path, match[2], match[3] == "streamGenerateContent")
    if method == "POST" and (route := _bedrock_route(path)):
        return route
    if method == "GET" and _GEMINI_MODELS.fullmatch(path):
        return Route(Surface.MODELS, path)
    if method == "POST" and (surface := _OLLAMA_POST.get(path)):
        return Route(surface, path)
    if method == "GET" and path in _OLLAMA_LISTS:
        return Route(Surface.MODELS, path)
    canonical = path if path.startswith("/v1/") else "/v1" + path
    if method == "POST" and (surface := _POST.get(canonical)):
        return Route(surface, canonical)
    if method == "GET" and canonical == "/v1/models":
        return Route(Surface.MODELS, canonical)
    if method == "GET" and canonical.startswith("/v1/models/"):
        name = canonical.removeprefix("/v1/models/")
        if 0 < len(name) <= 200 and set(name) <= _MODEL_NAME and set(name) != {"."}:
            return Route(Surface.MODELS, canonical)
    return None


def _bedrock_route(path: str) -> Route | None:
    """The path goes on as it came: SDKs encode the colons and slashes of a model's name, and the upstream expects that."""
    match = _BEDROCK.fullmatch(path)
    asked = _BEDROCK_CALLS.get(match[2]) if match else None
    return Route(asked[0], path, unquote(match[1]), asked[1]) if match and asked else None


def upstream_path(route_path: str, target_base_path: str) -> str:
    """The path to append to the target's own: a target that already ends in the version does not get it twice."""
    if not target_base_path:
        return route_path
    version = "/" + route_path.split("/")[1]
    return route_path.removeprefix(version) if target_base_path.rstrip("/").endswith(version) else route_path


def speaks_gemini(path: str) -> bool:
    """Whether the caller expects Gemini's error shape."""
    return _GEMINI.fullmatch(path) is not None or path.startswith(("/v1beta/", "/v1alpha/"))


def speaks_ollama(path: str) -> bool:
    """Whether the caller expects Ollama's error shape. Some APIs in the manner of OpenAI live below `/api/v1`."""
    return path.startswith("/api/") and not path.startswith("/api/v1/")


def manages_ollama(path: str) -> bool:
    """Whether this is one of the calls with which Ollama's models are fetched, made, copied, sent away and deleted."""
    return _OLLAMA_MANAGEMENT.fullmatch(path) is not None


def speaks_bedrock(path: str) -> bool:
    """Whether the caller expects Bedrock's error shape."""
    return path.startswith("/model/")


def speaks_anthropic(path: str, headers: Headers) -> bool:
    """Whether the caller expects Anthropic's error shape: by path, or by the header its SDKs always send."""
    return path.endswith("/messages") or "anthropic-version" in headers
