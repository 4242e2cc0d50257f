"""What the gateway itself says on a Realtime connection: events to the client in the API's own form, and orders upstream."""

from __future__ import annotations

import secrets
from typing import Any

from proxies.llm.errors import openai_body
from proxies.llm.framing import JSONLines
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent


class EventMessages(JSONLines):
    """Events as messages of a WebSocket: one JSON object in each."""

    def event(self, event: SSEEvent) -> bytes:
        """One message for the client."""
        return event.data.encode()


def error_event(refusal: Refusal, request_id: str, caused_by: str = "") -> bytes:
    """The event that tells the client of a refusal; `caused_by` is the name of its own event that led to it."""
    error = openai_body(refusal, request_id)["error"]
    error["event_id"] = caused_by or None
    if (wait := dict(refusal.headers).get("retry-after")) is not None:
        # An event has no header fields.
        error["retry_after_seconds"] = int(wait)
    return dump({"type": "error", "event_id": _new_id(), "error": error})


def failed_response(refusal: Refusal, response_id: str, usage: Any) -> bytes:
    """The end of a response of which nothing more may go out. Its usage stays: it was spent."""
    details = {"type": "failed", "error": {"type": "policy_violation", "code": refusal.code}}
    response = {
        "id": response_id,
        "object": "realtime.response",
        "status": "failed",
        "status_details": details,
        "output": [],
        "usage": _counts(usage),
    }
    return dump({"type": "response.done", "event_id": _new_id(), "response": response})


def cancel_response(response_id: str) -> bytes:
    """Have the provider stop a response."""
    return dump({"type": "response.cancel", "event_id": _new_id(), "response_id": response_id})


def delete_item(item_id: str) -> bytes:
    """Have the provider forget an item of the conversation."""
    return dump({"type": "conversation.item.delete", "event_id": _new_id(), "item_id": item_id})


def _new_id() -> str:
    return f"event_gateway_{secrets.token_hex(10)}"


def _counts(usage: Any) -> Any:
    """The numbers of a usage object, at two levels, and nothing else."""
    if type(usage) is not dict:
        return None
    counts: dict[str, Any] = {}
    for key, value in usage.items():
        if type(value) is int:
            counts[key] = value
        elif type(value) is dict and key.endswith("_details"):
            counts[key] = {name: count for name, count in value.items() if type(count) is int}
    return counts
