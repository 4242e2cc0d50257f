"""SSRF-01..04: one parser for target URLs, and addresses that are never dialled."""

from __future__ import annotations

import ipaddress

import pytest

from proxies.contract import Limits
from proxies.egress_policy import BadTarget, Origin, parse_target, refused_address
from proxies.transport import egress
from proxies.transport.egress import resolve
from proxies.transport.errors import UpstreamUnreachable
from proxies.transport.pool import UpstreamPool


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8000", Origin("http", "127.0.0.1", 8000, "127.0.0.1:8000", "")),
        ("http://LocalHost", Origin("http", "localhost", 80, "localhost", "")),
        ("https://api.example.com/base/v1/", Origin("https", "api.example.com", 443, "api.example.com", "/base/v1")),
        ("https://api.example.com:443/", Origin("https", "api.example.com", 443, "api.example.com", "")),
        ("https://api.example.com:80", Origin("https", "api.example.com", 80, "api.example.com:80", "")),
        ("http://[::1]:9", Origin("http", "::1", 9, "[::1]:9", "")),
        ("http://[0:0::1]/x", Origin("http", "::1", 80, "[::1]", "/x")),
        ("http://my_service-1.svc:80", Origin("http", "my_service-1.svc", 80, "my_service-1.svc", "")),
    ],
)
def test_SSRF_04_target_urls(url: str, origin: Origin) -> None:
    assert parse_target(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "ftp://a.test",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//a.test",
        "http://",
        "http:///x",
        "http:a.test",
        "http://good.test@evil.test/",
        "http://user:pass@evil.test/",
        "http://evil.test\\@good.test/",
        "http://good.test#@evil.test/",
        "http://a.test?b",
        "http://a.test/#c",
        "http://a.test/x?y",
        "http://a .test/",
        " http://a.test/",
        "http://a.test/\n",
        "http://a\t.test/",
        "http://a.test:",
        "http://a.test:0",
        "http://a.test:65536",
        "http://a.test:http",
        "http://a.test:+80",
        "http://[::1",
        "http://[::g]/",
        "http://[fe80::1%25eth0]/",
        "http://::1/",
        "http://a..test/",
        "http://.a.test/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://b\u00fccher.test/",
        "http://a.test/../x",
        "http://a.test/%2e%2e/x",
        "http://a.test//x",
        "http://a.test/a b",
        "http://a%2etest/",
    ],
)
def test_SSRF_04_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(url)


REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_SSRF_01_metadata_link_local_and_unspecified_addresses_are_refused(address: str) -> None:
    assert refused_address(ipaddress.ip_address(address)) is not None


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "172.16.0.1", "100.64.0.1", "93.184.216.34", "fd00::1",
     "2606:4700::1111", "::ffff:127.0.0.1"],
)  # fmt: skip
def test_SSRF_01_local_and_public_upstreams_are_allowed(address: str) -> None:
    assert refused_address(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "0.0.0.0", "[::]"],
)
async def test_SSRF_01_a_literal_address_is_refused_when_dialled(host: str) -> None:
    pool = UpstreamPool(f"http://{host}:80", Limits(), None)
    with pytest.raises(UpstreamUnreachable) as caught:
        await pool.request("GET", "/latest/meta-data/", [], b"")
    assert caught.value.code == "upstream_address_refused"
    assert host.strip("[]") not in caught.value.message
    assert pool.connections == 0


@pytest.mark.parametrize("spelling", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
async def test_SSRF_01_other_spellings_are_judged_after_resolution(spelling: str) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        await resolve(parse_target(f"http://{spelling}"))
    assert caught.value.code in ("upstream_address_refused", "upstream_dns_error")


async def test_SSRF_02_a_name_with_one_forbidden_answer_is_not_dialled_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mixed(origin: Origin) -> list[egress.IPAddress]:
        return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("169.254.169.254")]

    monkeypatch.setattr(egress, "_look_up", mixed)
    with pytest.raises(UpstreamUnreachable) as caught:
        await resolve(parse_target("http://rebind.test"))
    assert caught.value.code == "upstream_address_refused"


async def test_SSRF_02_the_address_that_was_checked_is_the_one_that_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["127.0.0.1", "169.254.169.254"])

    async def rebinding(origin: Origin) -> list[egress.IPAddress]:
        return [ipaddress.ip_address(next(answers))]

    monkeypatch.setattr(egress, "_look_up", rebinding)
    pool = UpstreamPool("http://rebind.test:9", Limits(), None)
    with pytest.raises(UpstreamUnreachable) as caught:
        await pool.request("GET", "/", [], b"")
    assert caught.value.code == "upstream_unreachable"  # Dialled at 127.0.0.1, where nobody listens.
    with pytest.raises(UpstreamUnreachable) as caught:
        await pool.request("GET", "/", [], b"")
    assert caught.value.code == "upstream_address_refused"


async def test_SSRF_02_real_names_are_resolved() -> None:
    assert set(await resolve(parse_target("http://localhost:1"))) <= {"127.0.0.1", "::1"}


def test_an_https_target_needs_a_context() -> None:
    with pytest.raises(ValueError, match="TLS"):
        UpstreamPool("https://a.test", Limits(), None)
