"""What a call to an endpoint that does not pass is told: whether it is never passed, or not known."""

from __future__ import annotations

from proxies.llm.surfaces import manages_ollama
from proxies.refusal import Refusal
from proxies.transport.http1_server import Request


def not_supported(request: Request) -> Refusal:
    """The refusal of a call that has no route."""
    if manages_ollama(request.path):
        return Refusal(
            403,
            "model_management_denied",
            f"{request.path[:200]} changes the models of the server, which nobody does through this gateway.",
            remediation="Pull, make, copy and delete models on the Ollama server itself.",
        )
    return Refusal(
        404,
        "endpoint_not_supported",
        f"{request.method} {request.path[:200]} is not an endpoint that this gateway can inspect.",
        remediation=_remediation(request),
    )


def _remediation(request: Request) -> str:
    if "upgrade" in request.headers:
        return "Of the WebSockets only /v1/realtime passes; use POST for everything else."
    if "/realtime/" in request.path:
        return "Use the WebSocket /v1/realtime. WebRTC, SIP and keys for browsers would pass the gateway by."
    return (
        "Use /v1/chat/completions, /v1/completions, /v1/responses, /v1/realtime, /v1/messages, "
        "/v1beta/models/...:generateContent, /api/chat, /api/generate, /api/embed, /api/show, /model/.../converse, "
        "/model/.../invoke or a list of models."
    )
