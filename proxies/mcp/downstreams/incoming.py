"""What a carrier must know of a client's message before it becomes a call. No I/O, and no judgement: the call is judged."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from proxies.mcp.eras import META_VERSION, METHOD_HEADER, NAME_HEADER, VERSION_HEADER
from proxies.mcp.header_values import encode_value
from proxies.mcp.messages import MessageId
from proxies.mcp.methods import NAME_PARAM
from proxies.mcp.param_headers import ParamHeader, mirrored
from proxies.strict_json import JSONRefused, parse

CANCELLED: Final = "notifications/cancelled"

Kind = Literal["request", "other", "malformed"]
"""A request is answered on the carrier; everything else is only accepted or refused."""


class Incoming(msgspec.Struct, frozen=True):
    """One message of a client, as far as its way depends on it."""

    kind: Kind
    id: MessageId | None = None
    method: str = ""
    params: dict[str, Any] = {}
    version: str = ""
    """The modern version that its envelope names; empty for a legacy message."""

    @property
    def cancels(self) -> MessageId | None:
        """The request that it cancels."""
        id = self.params.get("requestId") if self.method == CANCELLED else None
        return id if type(id) in (int, str) else None


def read(data: bytes) -> Incoming:
    """Look at a message. What is wrong with it is for the call to say."""
    try:
        value = parse(data)
    except JSONRefused:
        return Incoming("malformed")
    if type(value) is list:
        return Incoming("request" if any(_is_request(one) for one in value) else "other")
    if type(value) is not dict:
        return Incoming("other")
    method, params = value.get("method"), value.get("params")
    params = params if type(params) is dict else {}
    meta = params.get("_meta")
    version = meta.get(META_VERSION) if type(meta) is dict else None
    id = value.get("id")
    return Incoming(
        kind="request" if _is_request(value) else "other",
        id=id if type(id) in (int, str) else None,
        method=method if type(method) is str else "",
        params=params,
        version=version if type(version) is str else "",
    )


def modern_fields(message: Incoming, annotated: tuple[ParamHeader, ...]) -> list[tuple[str, str]]:
    """The fields that mirror a modern message (M-03): these transports have no header layer, so they cannot disagree."""
    fields = [(VERSION_HEADER, encode_value(message.version)), (METHOD_HEADER, encode_value(message.method))]
    subject = message.params.get(NAME_PARAM.get(message.method, ""))
    if type(subject) is str:
        fields.append((NAME_HEADER, encode_value(subject)))
    return [*fields, *mirrored(annotated, message.params.get("arguments"))]


def _is_request(value: Any) -> bool:
    return type(value) is dict and "method" in value and "id" in value
