"""The protocol of the MCP server by itself: versions, headers, refusals, arguments. The official client is elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli import run
from app.errors import Unavailable
from app.mcp_server import protocol
from app.mcp_server.tools import TOOLS

META = {protocol.META_VERSION: protocol.MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


class Broken:
    """A backend that has nothing."""

    async def check(self, text: str, kind: str) -> Any:
        raise Unavailable("Not now.")

    async def scan(self, url: str) -> Any:
        raise RuntimeError("a mistake")

    async def alerts(self, severities: tuple[str, ...], limit: int) -> Any:
        return []


async def ask(method: str, headers: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await protocol.answer(message, Broken(), headers)
    assert answer is not None
    assert answer["id"] == 1
    return answer


async def test_the_legacy_handshake_offers_what_the_client_speaks() -> None:
    assert (await ask("initialize", protocolVersion="2025-03-26"))["result"]["protocolVersion"] == "2025-03-26"
    assert (await ask("initialize", protocolVersion="1999-01-01"))["result"]["protocolVersion"] == "2025-11-25"
    assert (await ask("ping"))["result"] == {}
    assert len((await ask("tools/list"))["result"]["tools"]) == len(TOOLS)


async def test_the_modern_era_is_stateless_and_says_what_it_is() -> None:
    result = (await ask("server/discover", _meta=META))["result"]
    assert result["supportedVersions"][0] == protocol.MODERN
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
    assert (await ask("tools/list", _meta=META))["result"]["ttlMs"] == 60_000
    unknown = await ask("tools/list", _meta={protocol.META_VERSION: "2099-01-01"})
    assert unknown["error"]["code"] == protocol.UNSUPPORTED_VERSION
    assert (await ask("initialize", _meta=META))["error"]["code"] == protocol.METHOD_NOT_FOUND
    assert (await ask("server/discover"))["error"]["code"] == protocol.METHOD_NOT_FOUND


async def test_headers_must_agree_with_the_message() -> None:
    good = {"mcp-protocol-version": protocol.MODERN, "mcp-method": "tools/call", "mcp-name": "list_alerts"}
    assert "result" in await ask("tools/call", good, name="list_alerts", _meta=META)
    for name in good:
        answer = await ask("tools/call", {**good, name: "other"}, name="list_alerts", _meta=META)
        assert answer["error"]["code"] == protocol.HEADER_MISMATCH
    forgotten = await ask("tools/list", {"mcp-protocol-version": protocol.MODERN})
    assert forgotten["error"]["code"] == protocol.INVALID_PARAMS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("check_security_risk", {}),
        ("check_security_risk", {"text": 3}),
        ("check_security_risk", {"text": "a" * 100_001}),
        ("check_security_risk", {"text": "a", "kind": "poem"}),
        ("check_security_risk", {"text": "a", "extra": 1}),
        ("list_alerts", {"limit": 0}),
        ("list_alerts", {"limit": True}),
        ("list_alerts", {"severity": "awful"}),
    ],
)
async def test_arguments_that_do_not_fit_are_an_error_of_the_tool(name: str, arguments: dict[str, Any]) -> None:
    result = (await ask("tools/call", name=name, arguments=arguments))["result"]
    assert result["isError"]


async def test_failures_are_told_without_their_inside() -> None:
    refused = (await ask("tools/call", name="check_security_risk", arguments={"text": "a"}))["result"]
    assert (refused["isError"], "Not now." in refused["content"][0]["text"]) == (True, True)
    failed = await ask("tools/call", name="scan_server", arguments={"url": "https://a.example/mcp"})
    assert failed["error"]["code"] == protocol.INTERNAL_ERROR
    assert "mistake" not in str(failed)
    assert (await ask("tools/call", name="rm"))["error"]["code"] == protocol.INVALID_PARAMS
    assert (await ask("tools/call", name=3))["error"]["code"] == protocol.INVALID_PARAMS
    assert (await ask("prompts/list"))["error"]["code"] == protocol.METHOD_NOT_FOUND
    assert "no open alert" in (await ask("tools/call", name="list_alerts"))["result"]["content"][0]["text"]


@pytest.mark.parametrize("value", [[], 3, {"jsonrpc": "2.0", "id": [], "method": "ping"}, {"id": 1, "method": "ping"}])
async def test_what_is_no_request_is_refused(value: Any) -> None:
    answer = await protocol.answer(value, Broken())
    assert answer is not None
    assert answer["error"]["code"] == protocol.INVALID_REQUEST


async def test_notifications_have_no_answer_and_bytes_are_bounded() -> None:
    assert await protocol.answer({"jsonrpc": "2.0", "method": "notifications/initialized"}, Broken()) is None
    with pytest.raises(protocol.Refused):
        protocol.read(b" " * (protocol.MAX_MESSAGE_BYTES + 1))


def test_the_command_needs_a_token_for_a_console(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OSTIARY_TOKEN", raising=False)
    assert run(["mcp", "--console", "http://127.0.0.1:8080"]) == 1
    monkeypatch.setenv("OSTIARY_TOKEN", "x")
    assert run(["mcp", "--console", "nonsense"]) == 1
    assert "OSTIARY_TOKEN" in capsys.readouterr().err
