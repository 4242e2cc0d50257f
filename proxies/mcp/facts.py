"""What the conditions of policies ask about an MCP request: its method and the tool that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxies.exchange import Exchange
from proxies.mcp.messages import Message
from proxies.recorded_facts import CallNotes, Turns
from proxies.steps.facts import complete
from rules.facts import Facts, ToolCall
from rules.model import Text

HOUSEKEEPING: Final = frozenset(
    {
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tools/list",
    }
)
"""Requests that do nothing by themselves: a default action of deny lets them pass, so that a client can get as far as to
be told which call is denied."""


def request_facts(exchange: Exchange, message: Message, texts: Sequence[Text]) -> Facts:
    """The facts of one request."""
    return complete(
        exchange,
        kind="mcp",
        acts=message.method not in HOUSEKEEPING,
        method=message.method,
        tool_calls=_calls(message),
        texts=texts,
    )


def note_call(exchange: Exchange, message: Message, texts: Sequence[Text]) -> None:
    """Note what the record tells besides the texts."""
    if exchange.notes is None:
        exchange.notes = CallNotes(Turns(), _calls(message), texts)
    else:
        exchange.notes.mix()


def _calls(message: Message) -> tuple[ToolCall, ...]:
    if message.method != "tools/call":
        return ()
    params = message.params or {}
    return (ToolCall(params["name"], params.get("arguments", {}), "/params"),)
