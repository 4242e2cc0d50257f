"""The settings `http_proxy`, `https_proxy` and `no_proxy`: which target takes which way."""

from __future__ import annotations

import base64

import pytest

from app.settings import Settings, SettingsError, load
from app.upstream_proxy import BadProxy, UpstreamProxies, parse
from proxies.contract import UpstreamProxy

HTTP = UpstreamProxy(host="plain.test", port=80)
HTTPS = UpstreamProxy(host="tls.test", port=3128)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://proxy.test:3128", "proxy.test:3128"),
        ("http://proxy.test:3128/", "proxy.test:3128"),
        ("HTTP://Proxy.test", "proxy.test:80"),
        ("proxy.test:3128", "proxy.test:3128"),
        ("http://10.0.0.1:8080", "10.0.0.1:8080"),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080"),
    ],
)
def test_a_proxy_is_read_from_its_url(url: str, address: str) -> None:
    proxy = parse(url)
    assert proxy is not None
    assert (proxy.address, proxy.authorization) == (address, "")


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [("user:pass", b"user:pass"), ("user", b"user:"), ("a%40b:p%3Aq%2f", b"a@b:p:q/"), ("u:p@q", b"u:p@q")],
)
def test_credentials_of_a_proxy_url_become_basic_authentication(userinfo: str, pair: bytes) -> None:
    proxy = parse(f"http://{userinfo}@proxy.test:3128")
    assert proxy is not None
    assert proxy.authorization == f"Basic {base64.b64encode(pair).decode()}"
    assert proxy.address == "proxy.test:3128"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret@proxy.test",
        "socks5://user:s3cret@proxy.test",
        "http://user:s3cret@",
        "http://user:s3cret@proxy.test:99999",
        "http://user:s3cret@proxy test",
        "http://user:s3cret@proxy.test/path",
        "http://user:s3cret@proxy.test\r\nX: y",
    ],
)
def test_an_unusable_proxy_stops_the_start_and_its_password_is_not_repeated(url: str) -> None:
    with pytest.raises(BadProxy) as caught:
        parse(url)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="https_proxy") as refused:
        load({}, {"https_proxy": url})
    assert "s3cret" not in str(refused.value)


def test_no_url_is_no_proxy() -> None:
    assert parse("") is None
    assert Settings().upstream_proxies.for_target("https://api.test") is None


def test_the_lower_case_variable_wins() -> None:
    environ = {"HTTP_PROXY": "a.test", "http_proxy": "b.test", "HTTPS_PROXY": "c.test", "NO_PROXY": "x, y.test"}
    proxies = load({}, environ).upstream_proxies
    assert (proxies.http, proxies.https) == (
        UpstreamProxy(host="b.test", port=80),
        UpstreamProxy(host="c.test", port=80),
    )
    assert proxies.no_proxy == ("x", "y.test")
    assert load({}, {"no_proxy": "a", "NO_PROXY": "b"}).no_proxy == ("a",)


def test_the_targets_scheme_chooses_the_proxy() -> None:
    proxies = UpstreamProxies(http=HTTP, https=HTTPS)
    assert proxies.for_target("http://api.test") == HTTP
    assert proxies.for_target("https://api.test:444/v1") == HTTPS
    assert UpstreamProxies(http=HTTP).for_target("https://api.test") is None
    assert proxies.for_target("ftp://api.test") is None


@pytest.mark.parametrize(
    "target", ["http://localhost:11434", "http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:80"]
)
def test_this_machine_is_reached_directly_unless_no_proxy_says_otherwise(target: str) -> None:
    assert load({}, {"http_proxy": "plain.test"}).upstream_proxies.for_target(target) is None
    assert load({}, {"http_proxy": "plain.test", "no_proxy": "other.test"}).upstream_proxies.for_target(target) == HTTP


@pytest.mark.parametrize(
    ("entry", "target", "direct"),
    [
        ("*", "http://api.test", True),
        ("api.test", "http://api.test", True),
        ("API.test.", "http://api.test", True),
        ("test", "http://api.test", True),
        (".test", "http://api.test", True),
        ("*.test", "http://api.test", True),
        ("pi.test", "http://api.test", False),
        ("api.test", "http://test", False),
        ("api.test:80", "http://api.test", True),
        ("api.test:81", "http://api.test", False),
        ("api.test:8080", "http://api.test:8080", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3:99", True),
        ("10.1.2.3:98", "http://10.1.2.3:99", False),
        ("10.0.0.0/8", "http://[2001:db8::1]", False),
        ("2001:db8::/32", "http://[2001:db8::1]", True),
        ("[2001:db8::1]", "http://[2001:db8::1]", True),
        ("[2001:db8::1]:443", "http://[2001:db8::1]", False),
        ("10.0.0.0/99", "http://10.1.2.3", False),
        (".", "http://api.test", False),
        ("10", "http://10.1.2.3", False),
    ],
)
def test_an_entry_of_no_proxy_covers_its_targets(entry: str, target: str, direct: bool) -> None:
    proxies = UpstreamProxies(http=HTTP, no_proxy=("unrelated.example", entry))
    assert (proxies.for_target(target) is None) == direct
