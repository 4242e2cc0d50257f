"""Pages that a server wants the user to open: which addresses are found, and which may pass (L-14)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.elicited_urls import elicited_urls, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://bank.example/login?x=1", "bank.example"),
        ("https://BANK.example:8443/", "bank.example"),
        ("https://xn--bnk-6na.example/", "xn--bnk-6na.example"),
        ("http://bank.example/", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("//bank.example/", None),
        ("https://bank.example@evil.example/", None),
        ("https://user:password@bank.example/", None),
        ("https://bank.example\\.evil.example/", None),
        ("https://bánk.example/", None),
        ("https://bank.example/\u202egnp.exe", None),
        ("https://bank .example/", None),
        ("https://bank.example:99999/", None),
        ("https://[::1", None),
        ("https:///path", None),
        ("https://bank.example/" + "a" * 2048, None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_L_14_only_plain_https_addresses_have_a_host(url: Any, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("document", "urls"),
    [
        ({"params": {"mode": "url", "url": "a"}}, ["a"]),
        ({"params": {"mode": "form", "url": "a"}}, []),
        ({"params": {"url": "a"}}, []),
        (
            {"error": {"code": -32042, "data": {"elicitations": [{"url": "a"}, {"mode": "url", "url": "b"}, 7]}}},
            ["a", "b"],
        ),
        ({"error": {"code": -32042, "data": 7}}, []),
        ({"error": {"code": -32042, "data": {"elicitations": None}}}, []),
        ({"error": {"code": -1, "data": {"elicitations": [{"url": "a"}]}}}, []),
        ({"result": {"inputRequests": {"q": {"params": {"mode": "url", "url": "a"}}, "r": 7}}}, ["a"]),
        ({"params": {"inputRequests": {"q": {"params": {"mode": "url", "url": "a"}}}}}, ["a"]),
        ({"params": {"mode": "url"}}, [None]),
        ({"result": 7}, []),
        ([], []),
    ],
)
def test_L_14_addresses_are_found_wherever_a_server_can_ask(document: Any, urls: list[Any]) -> None:
    assert elicited_urls(document) == urls
