"""What the console says that can be done about a reason."""

from __future__ import annotations

import pytest

from app.fleet.remedies import remedy


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Port 4000 on 127.0.0.1 is in use by another program.", "another port"),
        ("Port 80 on 127.0.0.1 may not be used by this process: permission denied.", "1024"),
        ("10.0.0.1 is not an address of this machine.", "0.0.0.0"),
        ("'here' is not an IP address.", "127.0.0.1"),
        ("The upstream credential env:KEY is missing: the variable is not set.", "restart the console"),
        ("There is no policy named x.", "Assign"),
        ("The rule pack pii is damaged: pii.json#: not valid JSON.", "Put the file back"),
        ("The policy llm-security is damaged: llm-security.json#/packs: is wrong.", "Put the file back"),
        ("The policy ours is damaged: policy ours#: not valid JSON.", "Publish it anew"),
        ("The rules cannot be loaded: damaged", "compiled rules"),
        ("The certificate or its key cannot be used: no such file", "PEM"),
        ("The upstream cannot be set up: no such file", "CA bundle"),
        ("The newest configuration was refused, the one before is in force: x", "colon"),
        ("The MCP server's program ended (exit status 1).", "Logs"),
        ("The MCP server cannot be started: no such file.", "Logs"),
        ("The upstream did not answer initialize.", "Discover now"),
        ("The worker ended 5 times within 60 s. It is tried again every 30 s.", "log"),
        ("1 of 2 workers serve it; the others are being replaced.", "log"),
    ],
)
def test_a_reason_has_a_remedy(reason: str, words: str) -> None:
    assert words in remedy(reason)


@pytest.mark.parametrize("reason", ["", "The upstream credential is missing. Enter it again.", "Something else."])
def test_a_reason_that_says_it_itself_or_is_unknown_has_none(reason: str) -> None:
    assert remedy(reason) == ""
