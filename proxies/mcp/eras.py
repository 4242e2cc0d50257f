"""Which era a POST belongs to, and whether its headers say what its body says (M-01..M-04, L-04, L-05)."""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.mcp.header_values import decode_value
from proxies.mcp.messages import UNSUPPORTED_VERSION, Message
from proxies.mcp.methods import CLIENT_REQUESTS, NAME_PARAM, Era
from proxies.mcp.refusals import (
    RPCRefusal,
    header_mismatch,
    invalid_params,
    invalid_request,
    method_not_found,
    printable,
)
from proxies.transport.headers import Headers

LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS: Final = ("2026-07-28",)
SUPPORTED_VERSIONS: Final = (*reversed(MODERN_VERSIONS), *reversed(LEGACY_VERSIONS))
"""Newest first, as the error data lists them."""
LATEST_LEGACY: Final = LEGACY_VERSIONS[-1]
BATCH_VERSION: Final = "2025-03-26"
PRIMING_SINCE: Final = "2025-11-25"
"""First revision whose clients understand an SSE event with empty data."""

VERSION_HEADER: Final = "mcp-protocol-version"
METHOD_HEADER: Final = "mcp-method"
NAME_HEADER: Final = "mcp-name"
META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def names_modern_version(version: str | None) -> bool:
    """Whether a version is of the modern era, known to us or newer."""
    if version is None or version in MODERN_VERSIONS:
        return version is not None
    return _DATE.fullmatch(version) is not None and version >= MODERN_VERSIONS[0]


def era_of(headers: Headers, value: Any) -> Era:
    """The era of a decoded body (M-01): modern if body or header names a modern version, legacy otherwise.

    Either sign alone makes the request modern, so contradictory evidence ends in the checks of `check_modern` and
    never in a fallback to the rules of the other era.
    """
    if names_modern_version(headers.get(VERSION_HEADER)) or META_VERSION in _meta(value):
        return "modern"
    return "legacy"


def check_modern(message: Message, headers: Headers) -> None:
    """The validation order of M-02 from the header match to the known method; raises `RPCRefusal`."""
    meta = _meta_of(message.params)
    requested = meta.get(META_VERSION)
    if requested is None:
        raise _missing_version(message)
    version = headers.get(VERSION_HEADER)
    if version is None:
        raise header_mismatch("The MCP-Protocol-Version header is missing.")
    if type(requested) is not str or version != requested:
        raise header_mismatch("The MCP-Protocol-Version header does not match the version in the body.")
    if headers.get(METHOD_HEADER) != message.method:
        raise header_mismatch("The Mcp-Method header does not match the method in the body.")
    _check_name(message, headers)
    check_supported(requested)
    if type(meta.get(META_CAPABILITIES)) is not dict:
        raise invalid_params(f"params._meta must hold {META_CAPABILITIES} as an object.", status=400)
    if message.method not in CLIENT_REQUESTS["modern"]:
        raise method_not_found(message.method, status=404)


def check_supported(version: str) -> None:
    """Refuse a modern version that the gateway does not understand (-32022).

    The error lists the versions of its own era, as `server/discover` does: the others are negotiated by `initialize`.
    """
    if version not in MODERN_VERSIONS:
        raise RPCRefusal(
            400,
            UNSUPPORTED_VERSION,
            "unsupported_version",
            "Unsupported protocol version",
            data={"supported": list(MODERN_VERSIONS), "requested": printable(version)},
        )


def negotiable(requested: Any) -> str:
    """The version to offer upstream for the one a legacy client asked for (L-05)."""
    return requested if requested in LEGACY_VERSIONS else LATEST_LEGACY


def check_legacy_version(header: str | None, negotiated: str) -> None:
    """Refuse a version header that is not the negotiated version (L-04). Absent is fine: the session knows."""
    if header is not None and header != negotiated:
        raise invalid_request(
            f"The MCP-Protocol-Version header does not name the negotiated version {negotiated}.",
            remediation="Send the version that the initialize result named.",
        )


def _meta(value: Any) -> dict[str, Any]:
    return _meta_of(value.get("params")) if type(value) is dict else {}


def _meta_of(params: Any) -> dict[str, Any]:
    meta = params.get("_meta") if type(params) is dict else None
    return meta if type(meta) is dict else {}


def _missing_version(message: Message) -> RPCRefusal:
    # An initialize under a modern header contradicts itself; anything else has merely forgotten its envelope.
    if message.method == "initialize":
        return header_mismatch("initialize does not exist in the version that the MCP-Protocol-Version header names.")
    return invalid_params(f"params._meta must hold {META_VERSION} and {META_CAPABILITIES}.", status=400)


def _check_name(message: Message, headers: Headers) -> None:
    parameter = NAME_PARAM.get(message.method)
    if parameter is None:
        return
    subject = (message.params or {}).get(parameter)
    if type(subject) is not str:
        raise invalid_params(f"params.{parameter} must be a string.", status=400)
    raw = headers.get(NAME_HEADER)
    if raw is None:
        raise header_mismatch("The Mcp-Name header is missing.")
    if decode_value(raw) != subject:
        raise header_mismatch(f"The Mcp-Name header does not match params.{parameter}.")
