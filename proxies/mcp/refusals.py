"""Refusals that carry a JSON-RPC error code of their own, and the error object for every refusal (§2.10)."""

from __future__ import annotations

from typing import Any

from proxies.contract import Outcome
from proxies.mcp.messages import (
    BLOCKED,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_AUTHORISED,
    UPSTREAM_FAILED,
    Message,
    MessageId,
    error_response,
)
from proxies.refusal import Refusal


class RPCRefusal(Refusal):
    """A refusal whose JSON-RPC code the protocol prescribes. `data` goes into the error object as it is."""

    def __init__(
        self,
        status: int,
        rpc_code: int,
        code: str,
        message: str,
        *,
        data: dict[str, Any] | None = None,
        remediation: str = "",
        outcome: Outcome = "refused",
        headers: tuple[tuple[str, str], ...] = (),
        detail: str = "",
    ) -> None:
        super().__init__(
            status, code, message, remediation=remediation, outcome=outcome, headers=headers, detail=detail
        )
        self.rpc_code = rpc_code
        self.data = data


def invalid_request(message: str, *, status: int = 400, remediation: str = "") -> RPCRefusal:
    """The message or its HTTP frame is malformed."""
    return RPCRefusal(status, INVALID_REQUEST, "invalid_request", message, remediation=remediation)


def header_mismatch(message: str) -> RPCRefusal:
    """A header says something else than the body (M-03)."""
    return RPCRefusal(
        400,
        HEADER_MISMATCH,
        "header_mismatch",
        message,
        remediation="Send the MCP-Protocol-Version, Mcp-Method, Mcp-Name and Mcp-Param-* headers that the body implies.",
    )


def invalid_params(message: str, *, status: int) -> RPCRefusal:
    """The parameters do not have the shape that the method needs."""
    return RPCRefusal(status, INVALID_PARAMS, "invalid_params", message)


def method_not_found(method: str, *, status: int) -> RPCRefusal:
    """A method that the gateway cannot inspect does not pass (I-30)."""
    return RPCRefusal(status, METHOD_NOT_FOUND, "method_not_found", f"Method not found: {printable(method)}")


def upstream_invalid(message: str) -> RPCRefusal:
    """The upstream answered something that is not a valid MCP answer."""
    return RPCRefusal(
        502,
        UPSTREAM_FAILED,
        "upstream_invalid",
        message,
        remediation="Check that the proxy's target is an MCP server (Streamable HTTP) and that it is up to date.",
        outcome="upstream_error",
    )


def refusal_response(id: MessageId | None, refusal: Refusal, ref: str) -> Message:
    """The error response for a refusal. What a block found is not revealed, only the reference (D-04); a denial by a
    condition gives the reason that the author of the policy wrote for it, and a tool that may not pass is an unknown
    one (T-09)."""
    if refusal.outcome == "blocked" and not isinstance(refusal, RPCRefusal):
        text = refusal.message if refusal.code == "policy_denied" else "Blocked by gateway policy"
        return error_response(id, BLOCKED, text, {"ref": ref})
    data: dict[str, Any] = {"ref": ref, "code": refusal.code}
    if refusal.remediation:
        data["remediation"] = refusal.remediation
    if isinstance(refusal, RPCRefusal):
        return error_response(id, refusal.rpc_code, refusal.message, data if refusal.data is None else refusal.data)
    return error_response(id, _rpc_code(refusal), refusal.message, data)


def printable(text: str) -> str:
    """Text from outside, short and without control or invisible characters, for messages and the operation column."""
    start = text[:200]
    return start if start.isprintable() else "".join([c if c.isprintable() else "\ufffd" for c in start])


def _rpc_code(refusal: Refusal) -> int:
    if refusal.outcome == "upstream_error":
        return UPSTREAM_FAILED
    if refusal.status in (401, 403):
        return NOT_AUTHORISED
    if refusal.status >= 500:
        return INTERNAL_ERROR
    return INVALID_REQUEST
