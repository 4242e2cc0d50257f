"""Which era a request belongs to, and whether its headers agree with its body (M-01..M-03, L-04, L-05)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.eras import (
    META_CAPABILITIES,
    META_VERSION,
    check_legacy_version,
    check_modern,
    check_supported,
    era_of,
    negotiable,
)
from proxies.mcp.messages import Message
from proxies.mcp.refusals import RPCRefusal
from proxies.transport.headers import Headers

MODERN = "2026-07-28"
META = {META_VERSION: MODERN, META_CAPABILITIES: {}}


def body(method: str = "tools/list", meta: Any = META, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}


def request(method: str = "tools/list", meta: Any = META, **params: Any) -> Message:
    return Message(kind="request", id=1, method=method, params={"_meta": meta, **params})


def headers(method: str = "tools/list", version: str | None = MODERN, name: str | None = None) -> Headers:
    fields = [("mcp-method", method)]
    if version is not None:
        fields.append(("mcp-protocol-version", version))
    if name is not None:
        fields.append(("mcp-name", name))
    return Headers(fields)


@pytest.mark.parametrize(
    ("version", "value", "era"),
    [
        (None, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}, "legacy"),
        ("2025-11-25", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, "legacy"),
        ("banana", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, "legacy"),
        (None, [body()], "legacy"),
        (None, body(meta={"progressToken": 1}), "legacy"),
        (None, body(), "modern"),
        ("2025-11-25", body(), "modern"),
        (MODERN, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, "modern"),
        ("2027-01-01", None, "modern"),
    ],
)
def test_M_01_either_sign_makes_a_request_modern(version: str | None, value: Any, era: str) -> None:
    fields = [] if version is None else [("mcp-protocol-version", version)]
    assert era_of(Headers(fields), value) == era


def test_M_02_a_request_whose_headers_agree_passes() -> None:
    check_modern(request(), headers())
    check_modern(request("tools/call", name="add"), headers("tools/call", name="add"))
    check_modern(request("resources/read", uri="test://ü"), headers("resources/read", name="=?base64?dGVzdDovL8O8?="))


@pytest.mark.parametrize(
    ("message", "fields", "status", "code"),
    [
        (request(), headers(version=None), 400, -32020),
        (request(), headers(version="2025-11-25"), 400, -32020),
        (request(meta={META_VERSION: 7, META_CAPABILITIES: {}}), headers(), 400, -32020),
        (request(), headers("tools/List"), 400, -32020),
        (request(), Headers([("mcp-protocol-version", MODERN)]), 400, -32020),
        (request("tools/call", name="add"), headers("tools/call"), 400, -32020),
        (request("tools/call", name="add"), headers("tools/call", name="Add"), 400, -32020),
        (request("tools/call", name="x"), headers("tools/call", name="=?base64?eA?="), 400, -32020),
        (request("prompts/get", name="p"), headers("prompts/get", name="q"), 400, -32020),
        (request("resources/read", uri="a"), headers("resources/read", name="b"), 400, -32020),
        (request("initialize", meta={}), headers("initialize"), 400, -32020),
        (request("tools/call", name=5), headers("tools/call", name="5"), 400, -32602),
        (request(meta={}), headers(), 400, -32602),
        (request(meta=None), headers(), 400, -32602),
        (request(meta={META_VERSION: MODERN}), headers(), 400, -32602),
        (request(meta={META_VERSION: MODERN, META_CAPABILITIES: []}), headers(), 400, -32602),
        (request(meta={META_VERSION: "2027-01-01"}), headers(version="2027-01-01"), 400, -32022),
        (request("ping"), headers("ping"), 404, -32601),
        (request("initialize"), headers("initialize"), 404, -32601),
        (request("tasks/get", taskId="t"), headers("tasks/get"), 400, -32020),
        (request("tasks/get", taskId="t"), headers("tasks/get", name="u"), 400, -32020),
        (request("tasks/get"), headers("tasks/get", name="t"), 400, -32602),
        (request("tasks/result", taskId="t"), headers("tasks/result", name="t"), 404, -32601),
        (request("tasks/list"), headers("tasks/list"), 404, -32601),
    ],
)
def test_M_02_the_first_failure_in_the_order_wins(message: Message, fields: Headers, status: int, code: int) -> None:
    with pytest.raises(RPCRefusal) as refused:
        check_modern(message, fields)
    assert (refused.value.status, refused.value.rpc_code) == (status, code)


def test_unsupported_versions_are_told_what_is_supported() -> None:
    with pytest.raises(RPCRefusal) as refused:
        check_supported("2027-01-01")
    assert refused.value.data == {
        "supported": ["2026-07-28"],
        "requested": "2027-01-01",
    }


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        (MODERN, "2025-11-25"),
        (None, "2025-11-25"),
        (7, "2025-11-25"),
    ],
)
def test_L_05_an_unknown_version_is_replaced_by_the_latest_legacy_one(asked: Any, offered: str) -> None:
    assert negotiable(asked) == offered


def test_L_04_the_version_header_must_name_the_negotiated_version() -> None:
    check_legacy_version(None, "2025-06-18")
    check_legacy_version("2025-06-18", "2025-06-18")
    for other in ("2025-11-25", "banana", ""):
        with pytest.raises(RPCRefusal) as refused:
            check_legacy_version(other, "2025-06-18")
        assert refused.value.status == 400
