"""How a call that may not pass is answered, as its proxy wants it (D-01): as an error, or as the result of a tool that failed.

Clients show an error to their user; the text of a result goes to the model, which can explain it and go on.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp.messages import BLOCKED, Message, MessageId, result_response
from proxies.mcp.refusals import refusal_response
from proxies.refusal import Refusal

CALL: Final = "tools/call"


def denial(exchange: Exchange, id: MessageId | None, refusal: Refusal, method: str = "") -> Message:
    """The response for a refusal; `method` is that of the request, where the exchange is about several.

    Only a policy's denial of a call can be a result: an unknown tool, or a message that is none, is an error everywhere.
    """
    response = refusal_response(id, refusal, exchange.id)
    settings = exchange.proxy.config.mcp
    if settings is None or settings.denied_calls != "result" or id is None:
        return response
    error = response.error or {}
    if error.get("code") != BLOCKED or not (method or exchange.operation).startswith(CALL):
        return response
    remedy = error["data"].get("remediation", "")
    text = f"{error['message'].rstrip('.')}. {remedy} Reference: {exchange.id}".replace("  ", " ")
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    if exchange.protocol == "mcp.modern":
        result["resultType"] = "complete"
    return result_response(id, result)
