"""What a result must look like and what is changed in it (L-05, L-06, M-05, M-15..M-17, M-19, M-21)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.capabilities import TASKS_EXTENSION, declared_names, strip, strip_meta
from proxies.mcp.eras import META_CAPABILITIES
from proxies.mcp.refusals import RPCRefusal
from proxies.mcp.results import MAX_REQUEST_STATE_CHARACTERS, initialize_result, modern_result


def adapted(method: str, result: dict[str, Any], *declared: str) -> dict[str, Any]:
    return modern_result(method, result, declared=frozenset(declared)).result


def test_L_05_an_unknown_version_fails_the_handshake() -> None:
    assert initialize_result({"protocolVersion": "2025-06-18"})["protocolVersion"] == "2025-06-18"
    for version in ("2026-07-28", "2030-01-01", None, 7):
        with pytest.raises(RPCRefusal):
            initialize_result({"protocolVersion": version})


def test_L_06_and_M_21_what_cannot_be_inspected_is_not_negotiated() -> None:
    capabilities = {"tools": {}, "tasks": {"list": {}}, "extensions": {"x/y": {}}, "experimental": {}}
    result = initialize_result({"protocolVersion": "2025-11-25", "capabilities": capabilities})
    assert result["capabilities"] == {"tools": {}, "tasks": {"list": {}}, "experimental": {}}
    assert strip(result, era="modern")["capabilities"] == {"tools": {}, "experimental": {}}
    assert "extensions" in capabilities
    assert strip({"capabilities": "odd"}, era="modern") == {"capabilities": "odd"}
    assert strip({}, era="legacy") == {}
    known = {"capabilities": {"extensions": {"x/y": {}, TASKS_EXTENSION: {"a": 1}}}}
    assert strip(known, era="modern") == {"capabilities": {"extensions": {TASKS_EXTENSION: {"a": 1}}}}
    assert strip(known, era="legacy") == {"capabilities": {}}
    meta = {META_CAPABILITIES: {"sampling": {}, "extensions": {"x/y": {}}}, "other": 1}
    assert strip_meta({"name": "n", "_meta": meta}) == {
        "name": "n",
        "_meta": {META_CAPABILITIES: {"sampling": {}}, "other": 1},
    }
    assert strip_meta({"_meta": "odd"}) == {"_meta": "odd"}
    assert declared_names({"roots": {}}) == {"roots"}
    assert declared_names({"elicitation": {"url": {}}}) == {"elicitation", "elicitation.url"}
    assert declared_names({"extensions": {"x/y": {}, TASKS_EXTENSION: {}}}) == {"extensions", TASKS_EXTENSION}
    assert declared_names(None) == frozenset()


def test_M_19_discover_offers_what_both_sides_speak() -> None:
    result = {"supportedVersions": ["2030-01-01", "2026-07-28", "2025-11-25", 7], "capabilities": {"extensions": {}}}
    passed = adapted("server/discover", result)
    assert passed["supportedVersions"] == ["2026-07-28", "2025-11-25"]
    assert passed["capabilities"] == {}
    with pytest.raises(RPCRefusal):
        adapted("server/discover", {"supportedVersions": "2026-07-28"})


@pytest.mark.parametrize(("sent", "passed"), [(0, 0), (5, 5), (10**9, 60_000), (-1, 0), ("5", 0), (None, 0), (True, 0)])
def test_M_17_cache_hints_are_private_and_short(sent: Any, passed: int) -> None:
    for method in ("prompts/list", "resources/read"):
        result = adapted(method, {"ttlMs": sent, "cacheScope": "public"})
        assert (result["ttlMs"], result["cacheScope"]) == (passed, "private")
    assert adapted("tools/call", {"content": []}) == {"content": []}


@pytest.mark.parametrize("kind", ["task", "", None, 7])
def test_M_16_unknown_types_of_results_do_not_pass(kind: Any) -> None:
    with pytest.raises(RPCRefusal):
        adapted("tools/call", {"resultType": kind})
    assert adapted("tools/call", {"resultType": "complete"}) == {"resultType": "complete"}


def asking(**members: Any) -> dict[str, Any]:
    return {"resultType": "input_required", **members}


def test_M_15_input_may_be_asked_of_the_kinds_that_were_declared() -> None:
    result = asking(inputRequests={"q": {"method": "elicitation/create", "params": {}}}, requestState="signed")
    for method in ("tools/call", "prompts/get", "resources/read"):
        assert adapted(method, result, "elicitation") == result
    with pytest.raises(RPCRefusal):
        adapted("tools/list", result, "elicitation")
    with pytest.raises(RPCRefusal):
        adapted("tools/call", result, "sampling")


@pytest.mark.parametrize(
    "members",
    [
        {"inputRequests": []},
        {"inputRequests": {"q": "text"}},
        {"inputRequests": {"q": {}}},
        {"inputRequests": {"q": {"method": "ping"}}},
        {"inputRequests": {"q": {"method": "tools/call"}}},
        {"inputRequests": {"q": {"method": ["roots/list"]}}},
        {"requestState": 7},
        {"requestState": "x" * (MAX_REQUEST_STATE_CHARACTERS + 1)},
    ],
)
def test_M_15_malformed_requests_for_input_do_not_pass(members: dict[str, Any]) -> None:
    with pytest.raises(RPCRefusal):
        adapted("tools/call", asking(**members), "elicitation", "sampling", "roots", "")


def test_M_05_tools_with_invalid_annotations_are_not_offered() -> None:
    good = {"name": "good", "inputSchema": {"properties": {"r": {"type": "string", "x-mcp-header": "R"}}}}
    bad = {"name": "bad", "inputSchema": {"properties": {"r": {"type": "string", "x-mcp-header": "a b"}}}}
    result, annotations = modern_result("tools/list", {"tools": [bad, good]}, declared=frozenset())
    assert result["tools"] == [good]
    assert [one.header for one in annotations["good"]] == ["mcp-param-r"]
    assert "bad" not in annotations


@pytest.mark.parametrize("tools", [None, "text", ["text"], [{}], [{"name": 7}]])
def test_I_03_a_malformed_list_of_tools_does_not_pass(tools: Any) -> None:
    with pytest.raises(RPCRefusal):
        adapted("tools/list", {"tools": tools})
