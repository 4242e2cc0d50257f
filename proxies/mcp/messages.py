"""JSON-RPC 2.0 messages as MCP uses them: parsed strictly, rebuilt from what was parsed, never relayed as bytes (G-04)."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Raw

from proxies.frozen import Frozen
from proxies.strict_json import JSONRefused, refuse_case_variants

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
BLOCKED: Final = -32010
"""The gateway's policy said no (D-04). -32000 to -32019 is the range left to implementations."""
NOT_AUTHORISED: Final = -32011
UPSTREAM_FAILED: Final = -32012
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
MODERN_ERRORS: Final = frozenset(
    {METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION}
)
"""What a server of the modern era says with a status other than 200 to a request that it understood."""
REJECTED_BY_USER: Final = -1
"""What clients answer to a sampling request that their user declined (D-03)."""

MAX_BATCH_MESSAGES: Final = 100
MAX_ID_CHARACTERS: Final = 1024
MAX_METHOD_CHARACTERS: Final = 256

_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS: Final = frozenset({"name", "arguments", "uri", "_meta", "cursor", "ref", "argument", "level"})

MessageId = int | str
Kind = Literal["request", "notification", "response"]


class MessageRefused(ValueError):
    """Not a JSON-RPC message. `str()` is a sentence safe to return; `id` is the message's id where it is usable."""

    def __init__(self, reason: str, *, id: MessageId | None = None) -> None:
        super().__init__(reason)
        self.id = id


class Message(Frozen, frozen=True):
    """One JSON-RPC message. A response holds `result` or `error`; its id is None only in an error without id."""

    kind: Kind
    id: MessageId | None = None
    method: str = ""
    params: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    encoded: Raw | None = None
    """The result of a response of ours that is JSON already, instead of `result`."""

    def body(self) -> dict[str, Any]:
        """The message to send: only members that were parsed, in the usual order."""
        body: dict[str, Any] = {"jsonrpc": "2.0"}
        if self.kind != "notification":
            body["id"] = self.id
        if self.kind == "response":
            if self.error is not None:
                body["error"] = self.error
            else:
                body["result"] = self.result if self.encoded is None else self.encoded
            return body
        body["method"] = self.method
        if self.params is not None:
            body["params"] = self.params
        return body


def parts_of(message: Message) -> dict[str, Any]:
    """The members of a message that hold texts, by the names that their places begin with."""
    parts = {"params": message.params, "result": message.result, "error": message.error}
    return {name: part for name, part in parts.items() if part is not None}


def error_response(id: MessageId | None, code: int, message: str, data: Any = None) -> Message:
    """An error response of our own."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return Message(kind="response", id=id, error=error)


def result_response(id: MessageId, result: dict[str, Any]) -> Message:
    """A successful response of our own."""
    return Message(kind="response", id=id, result=result)


def parse_message(value: Any) -> Message:
    """The message in one decoded JSON value; raises `MessageRefused`."""
    if type(value) is not dict:
        raise MessageRefused("A JSON-RPC message must be an object.")
    id = value.get("id")
    usable_id = id if _is_id(id) else None
    try:
        if not value.keys() <= _ENVELOPE:
            refuse_case_variants(value, _ENVELOPE)
        if value.get("jsonrpc") != "2.0":
            raise MessageRefused('The member "jsonrpc" must be "2.0".', id=usable_id)
        if "id" in value and usable_id is None and not (id is None and "error" in value):
            raise MessageRefused('The member "id" must be a string or an integer.')
        if "method" in value:
            return _call(value, usable_id)
        return _response(value, usable_id)
    except JSONRefused as error:
        raise MessageRefused(str(error), id=usable_id) from None


def parse_batch(value: list[Any]) -> list[Message]:
    """The messages of a 2025-03-26 batch (L-07); raises `MessageRefused`."""
    if not value:
        raise MessageRefused("A batch must not be empty.")
    if len(value) > MAX_BATCH_MESSAGES:
        raise MessageRefused(f"A batch must not hold more than {MAX_BATCH_MESSAGES} messages.")
    messages = [parse_message(element) for element in value]
    if any(message.method == "initialize" for message in messages):
        raise MessageRefused("initialize must not be part of a batch.")
    ids = [message.id for message in messages if message.kind == "request"]
    # Typed pairs, because 1 and True are equal in Python and 1 and "1" are not in JSON-RPC.
    if len({(type(id), id) for id in ids}) != len(ids):
        raise MessageRefused("Two requests of the batch have the same id.")
    return messages


def _is_id(id: Any) -> bool:
    return type(id) is int or (type(id) is str and len(id) <= MAX_ID_CHARACTERS)


def _call(value: dict[str, Any], id: MessageId | None) -> Message:
    method, params = value["method"], value.get("params")
    if "result" in value or "error" in value:
        raise MessageRefused("A message must not be a request and a response at once.", id=id)
    if type(method) is not str or not 0 < len(method) <= MAX_METHOD_CHARACTERS:
        raise MessageRefused('The member "method" must be a short string.', id=id)
    if "params" in value:
        if type(params) is not dict:
            raise MessageRefused('The member "params" must be an object.', id=id)
        if not params.keys() <= _PARAMS:
            refuse_case_variants(params, _PARAMS)
    if "id" not in value:
        return Message(kind="notification", method=method, params=params)
    if id is None:
        raise MessageRefused('The member "id" must be a string or an integer.')
    return Message(kind="request", id=id, method=method, params=params)


def _response(value: dict[str, Any], id: MessageId | None) -> Message:
    if ("result" in value) == ("error" in value):
        raise MessageRefused("A message must hold either a method, a result or an error.", id=id)
    if "error" in value:
        error = value["error"]
        if type(error) is not dict or type(error.get("code")) is not int or type(error.get("message")) is not str:
            raise MessageRefused('The member "error" must hold a numeric code and a message.', id=id)
        kept = {key: error[key] for key in ("code", "message", "data") if key in error}
        return Message(kind="response", id=id, error=kept)
    if id is None:
        raise MessageRefused("A result must carry the id of its request.")
    if type(value["result"]) is not dict:
        raise MessageRefused('The member "result" must be an object.', id=id)
    return Message(kind="response", id=id, result=value["result"])
