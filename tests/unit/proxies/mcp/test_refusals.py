"""The error objects of refusals (D-04, §2.10)."""

from __future__ import annotations

import pytest

from proxies.mcp.refusals import (
    header_mismatch,
    invalid_request,
    method_not_found,
    printable,
    refusal_response,
    upstream_invalid,
)
from proxies.refusal import Refusal


def test_D_04_a_block_reveals_nothing_but_the_reference() -> None:
    blocked = Refusal(403, "blocked_by_policy", "Rule CI-0001: Shell injection", remediation="x", outcome="blocked")
    assert refusal_response("c-7", blocked, "call_1").body() == {
        "jsonrpc": "2.0",
        "id": "c-7",
        "error": {"code": -32010, "message": "Blocked by gateway policy", "data": {"ref": "call_1"}},
    }


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal(401, "invalid_api_key", "m"), -32011),
        (Refusal(403, "origin_not_allowed", "m"), -32011),
        (Refusal(413, "body_too_large", "m"), -32600),
        (Refusal(502, "upstream_unreachable", "m", outcome="upstream_error"), -32012),
        (Refusal(429, "upstream_rate_limited", "m", outcome="upstream_error"), -32012),
        (Refusal(500, "inspection_failed", "m", outcome="failed"), -32603),
        (invalid_request("m"), -32600),
        (header_mismatch("m"), -32020),
        (method_not_found("x/y", status=404), -32601),
        (upstream_invalid("m"), -32012),
    ],
)
def test_every_refusal_has_its_code_a_reference_and_its_word(refusal: Refusal, code: int) -> None:
    error = refusal_response(None, refusal, "call_1").error
    assert error is not None
    assert error["code"] == code
    assert error["data"]["ref"] == "call_1"
    assert error["data"]["code"] == refusal.code


def test_remediation_is_passed_on() -> None:
    refusal = Refusal(406, "not_acceptable", "m", remediation="Send it.")
    assert (refusal_response(1, refusal, "r").error or {})["data"]["remediation"] == "Send it."


def test_names_from_outside_are_shown_short_and_harmless() -> None:
    assert printable("tools/call\r\n\x1b[31m") == "tools/call\ufffd\ufffd\ufffd[31m"
    assert len(printable("x" * 1000)) == 200
