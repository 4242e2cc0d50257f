"""What the conditions of policies ask about an MCP request: its method and the tool that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxies.exchange import Exchange
from proxies.mcp.messages import Message
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
    params = message.params or {}
    calls = (
        (ToolCall(params["name"], params.get("arguments", {}), "/params"),) if message.method == "tools/call" else ()
    )
    return complete(
        exchange,
        kind="mcp",
        acts=message.method not in HOUSEKEEPING,
        method=message.method,
        tool_calls=calls,
        texts=texts,
    )
