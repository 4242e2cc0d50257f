"""Host and Origin decisions: pure functions, the tables of ADM-02, ADM-03 and ADM-25."""

from __future__ import annotations

import pytest

from app.security.origin import host_is_allowed, is_proven_same_origin, local_path, perimeter, refusal_reason
from app.settings import Settings

ALLOWED = perimeter(
    Settings(
        allowed_hosts=("gateway.lan:8080",),
        public_base_url="https://console.test",
        allowed_origins=("https://portal.test",),
    )
)
OWN = "http://127.0.0.1:8080"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "gateway.lan:8080", "console.test"])
def test_ADM_02_exact_hosts_are_allowed(host: str) -> None:
    assert host_is_allowed(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.test",
        "evil.test:8080",
        "localhost.evil:8080",
        "127.0.0.1.evil:8080",
        "consoleXtest",
        "console.test.",
        "localhost.:8080",
        "LOCALHOST:8080",
        "localhost:8081",
        "localhost",
        "0.0.0.0:8080",
        "127.0.0.1:8080,evil.test",
        "user@localhost:8080",
        " localhost:8080",
    ],
)
def test_ADM_02_every_other_host_is_refused(host: str | None) -> None:
    assert not host_is_allowed(host, ALLOWED)


def test_ADM_02_a_wildcard_address_is_not_a_name_and_port_80_needs_no_port() -> None:
    everywhere = perimeter(Settings(host="0.0.0.0", port=80, allow_plain_http=True))
    assert not host_is_allowed("0.0.0.0:80", everywhere)
    assert host_is_allowed("localhost", everywhere)
    assert host_is_allowed("[2001:db8::1]:8080", perimeter(Settings(host="2001:db8::1")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": OWN},
        {"origin": "https://console.test", "sec-fetch-site": "same-origin"},
        {"origin": "https://portal.test", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"referer": f"{OWN}/alerts"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_ADM_03_own_pages_and_scripts_pass(method: str, headers: dict[str, str]) -> None:
    assert refusal_reason(method, headers, ALLOWED) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8081"},
        {"origin": "https://127.0.0.1:8080"},
        {"origin": "http://127.0.0.1:8080.evil.test"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "nonsense"},
        {"origin": "https://evil.test", "sec-fetch-site": "same-origin"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ADM_03_other_sites_are_refused_for_reading_and_changing(method: str, headers: dict[str, str]) -> None:
    assert refusal_reason(method, headers, ALLOWED)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"referer": "https://evil.test/page"},
        {"referer": "http://[x"},
        {"sec-fetch-mode": "no-cors", "sec-fetch-site": "same-origin"},
    ],
)
def test_ADM_03_a_followed_link_may_read_but_not_change(headers: dict[str, str]) -> None:
    assert refusal_reason("GET", headers, ALLOWED) == ""
    assert refusal_reason("POST", headers, ALLOWED)


def test_a_login_form_must_be_vouched_for_by_the_browser() -> None:
    assert is_proven_same_origin({"origin": OWN}, ALLOWED)
    assert is_proven_same_origin({"sec-fetch-site": "same-origin"}, ALLOWED)
    assert not is_proven_same_origin({}, ALLOWED)
    assert not is_proven_same_origin({"sec-fetch-site": "none"}, ALLOWED)


@pytest.mark.parametrize("target", ["/", "/alerts?status=open", "/proxies/prx_1#live", "/%2e%2e//x"])
def test_ADM_25_local_paths_are_kept(target: str) -> None:
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https:evil.test",
        "https://evil.test",
        "javascript:alert(1)",
        "/\r\nSet-Cookie: a=b",
        "/\t//evil.test",
        "user@evil.test",
        "/a\\b",
        "/\x7f",
        "/a b",
    ],
)
def test_ADM_25_everything_else_becomes_the_default(target: str | None) -> None:
    assert local_path(target, "/overview") == "/overview"
