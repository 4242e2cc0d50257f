"""Refusals in the words of each LLM API (requirements a2a-and-llm §3.3), before an answer and inside a running stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxies.llm.surfaces import INVOKED, Surface
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent

_OPENAI_TYPES: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    403: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


_BEDROCK_TYPES: Final = {
    401: "AccessDeniedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
_BEDROCK_STREAM_TYPES: Final = {429: "throttlingException", 503: "serviceUnavailableException"}
_GEMINI_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def openai_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """`{"error": {...}}` as the OpenAI SDKs parse it, with our remediation and request id beside it."""
    return {
        "error": {
            "message": refusal.message,
            "type": _openai_type(refusal),
            "param": None,
            "code": refusal.code,
            "remediation": refusal.remediation,
            "request_id": request_id,
        }
    }


def anthropic_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """`{"type": "error", ...}` as the Anthropic SDKs parse it."""
    return {
        "type": "error",
        "error": {
            "type": _ANTHROPIC_TYPES.get(refusal.status, "api_error"),
            "message": refusal.message,
            "details": {"error_code": refusal.code, "remediation": refusal.remediation},
        },
        "request_id": request_id,
    }


def gemini_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """`{"error": {"code", "message", "status", "details"}}` as Google's SDKs parse it."""
    detail = {"reason": refusal.code, "remediation": refusal.remediation, "request_id": request_id}
    return {
        "error": {
            "code": refusal.status,
            "message": refusal.message,
            "status": _GEMINI_STATUSES.get(refusal.status, "INTERNAL"),
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **detail}],
        }
    }


def ollama_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """`{"error": "..."}` as Ollama's clients parse it; they show that text and nothing else."""
    return {
        "error": refusal.message,
        "code": refusal.code,
        "remediation": refusal.remediation,
        "request_id": request_id,
    }


def bedrock_type(status: int) -> str:
    """The name of Bedrock's exception for a status, as the header `x-amzn-errortype` says it."""
    return _BEDROCK_TYPES.get(status, "ValidationException" if status < 500 else "InternalServerException")


def bedrock_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """`{"message": "..."}` as the AWS SDKs parse it beside the name of the exception."""
    return {
        "message": refusal.message,
        "code": refusal.code,
        "remediation": refusal.remediation,
        "request_id": request_id,
    }


def stream_event(surface: Surface, refusal: Refusal, request_id: str, response_id: str, sequence: int) -> SSEEvent:
    """The event that ends a running stream in the API's own error form.

    The Responses SDK does not raise on `event: error`, so a `response.failed` with the stream's own response id is sent.
    """
    if surface is Surface.ANTHROPIC_MESSAGES:
        return SSEEvent(event="error", data=dump(anthropic_body(refusal, request_id)).decode())
    if surface is Surface.OPENAI_RESPONSES:
        failed = {
            "type": "response.failed",
            "sequence_number": sequence,
            "response": {
                "id": response_id,
                "object": "response",
                "status": "failed",
                "error": {"code": refusal.code, "message": refusal.message},
                "output": [],
            },
        }
        return SSEEvent(event="response.failed", data=dump(failed).decode())
    if surface is Surface.BEDROCK_CONVERSE or surface in INVOKED:
        # Only some exceptions can stand in a stream; the SDKs know them by these names.
        name = _BEDROCK_STREAM_TYPES.get(
            refusal.status, "internalServerException" if refusal.status >= 500 else "validationException"
        )
        return SSEEvent(event=name, data=dump(bedrock_body(refusal, request_id)).decode())
    body = _BODIES.get(surface, openai_body)
    return SSEEvent(event=None, data=dump(body(refusal, request_id)).decode())


_BODIES: Final[dict[Surface, Callable[[Refusal, str], dict[str, Any]]]] = {
    Surface.GEMINI: gemini_body,
    Surface.OLLAMA_CHAT: ollama_body,
    Surface.OLLAMA_GENERATE: ollama_body,
}


def _openai_type(refusal: Refusal) -> str:
    if refusal.outcome == "blocked":
        return "policy_error" if refusal.code == "policy_denied" else "policy_violation"
    return _OPENAI_TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
