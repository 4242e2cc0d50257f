"""What became of the text in which an alert found something, in a sentence. Pure.

An alert is about one rule, and the call may have ended for another reason: what is said here is said of both.
"""

from __future__ import annotations

from app.alerts.schemas import AlertView
from app.traffic.schemas import CallView

_ENDED = frozenset({"blocked", "refused", "failed"})
"""Outcomes of calls that the gateway ended."""
_OF_CLIENTS = {
    "llm": frozenset({"prompt", "system_prompt", "document", "tool_result"}),
    "mcp": frozenset({"tool_args"}),
}
_OF_TARGETS = {
    "llm": frozenset({"completion"}),
    "mcp": frozenset({"tool_result", "resource", "error", "tool_description", "param_description", "schema"}),
}
"""The kinds of texts by proxy type that only clients send, or only targets; others come from both."""


def what_became(alert: AlertView, call: CallView | None) -> str:
    """What became of the text; `call` is None when it is no longer kept."""
    if alert.action == "block":
        if alert.target in _OF_CLIENTS.get(alert.proxy_type, ()):
            return "The message was refused; the target never saw it."
        if alert.target not in _OF_TARGETS.get(alert.proxy_type, ()):
            return "The message was refused."
        if call is None or not call.streamed:
            return "The answer was refused; the client never saw it."
        return "The answer ended there; what came before it in the stream is with the client."
    masked = ", masked" if alert.action == "redact" else ""
    if call is not None and call.outcome in _ENDED:
        return f"By itself it would have passed{masked}. {call.reason.rstrip('.')}."
    if masked:
        return "The span was replaced before it went on."
    return "The message went on; this alert is the trace it left." if alert.action == "alert" else ""
