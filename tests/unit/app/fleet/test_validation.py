"""What makes a proxy acceptable, field by field."""

from __future__ import annotations

import pytest

from app.fleet import validation
from app.fleet.draft import listeners_collide


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org",
        "http://127.0.0.1:9000/base/v1",
        "http://[::1]:8000",
        "https://xn--bcher-kva.example",
    ],
)
def test_a_target_url_with_scheme_and_host_is_accepted(url: str) -> None:
    assert validation.target_url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.org",
        "https://example.org#x",
        "https://example.org?x=1",
        "https://example.org:0",
        "https://example.org:99999",
        "https://exa mple.org",
        "https://example.org/\r\nx",
        "https://example.org\\@evil.test",
        "https://256.1.1.1",
        "https://-bad.example",
        "https://bücher.example",
        "https://" + "a" * 2000,
    ],
)
def test_SSRF_a_target_url_that_says_anything_else_is_refused(url: str) -> None:
    problem = validation.target_url_problem(url)
    assert problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://0.0.0.0:9000", "http://[fe80::1]", "http://[::ffff:169.254.169.254]:80",
     "http://[64:ff9b::a9fe:a9fe]", "http://224.0.0.1", "http://100.100.100.200"],
)  # fmt: skip
def test_SSRF_01_a_literal_address_that_is_never_dialled_is_refused_with_reason_and_remedy(url: str) -> None:
    problem = validation.target_url_problem(url)
    assert problem
    assert "is not allowed: it " in problem
    assert "127.0.0.1" in problem


@pytest.mark.parametrize("url", ["http://a.test//x", "http://a.test/../x", "http://a.test/%2e%2e/x"])
def test_SSRF_04_saving_and_dialling_use_one_parser(url: str) -> None:
    assert "dot segments" in (validation.target_url_problem(url) or "")


@pytest.mark.parametrize(("port", "accepted"), [(0, False), (-1, False), (1, True), (65535, True), (65536, False)])
def test_a_port_is_1_to_65535(port: int, accepted: bool) -> None:
    assert (validation.port_problem(port) is None) is accepted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_a_proxy_listens_on_an_address_or_localhost(host: str) -> None:
    assert validation.host_problem(host) is None


@pytest.mark.parametrize(
    "host",
    ["", "gateway.example.org", "localhost.", "ip6-localhost", "127.1", "fe80::1%eth0", "[::1]", "::ffff:127.0.0.1",
     "224.0.0.1", "ff02::1", "255.255.255.255", "127.0.0.1:80", " 127.0.0.1"],
)  # fmt: skip
def test_a_host_that_no_socket_can_be_bound_to_is_refused_with_the_remedy(host: str) -> None:
    problem = validation.host_problem(host)
    assert problem
    assert "127.0.0.1" in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_G_02_without_keys_a_loopback_address_is_accepted(host: str) -> None:
    assert validation.exposure_problem(host, require_auth=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example.org"])
def test_G_02_without_keys_any_other_address_is_refused_with_the_remedy(host: str) -> None:
    problem = validation.exposure_problem(host, require_auth=False)
    assert problem
    assert "require_auth" in problem
    assert validation.exposure_problem(host, require_auth=True) is None


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x00b", "a\u200bb", "a\u202eb", "a\u2028b", "x" * 101])
def test_INJ_05_a_name_with_controls_or_invisible_characters_is_refused(name: str) -> None:
    assert validation.name_problem(name)


@pytest.mark.parametrize(
    ("one", "other"), [("OpenAI", "openai"), ("ﬁle", "FILE"), ("Straße", "STRASSE"), ("K", "\u212a")]
)
def test_INJ_14_names_that_differ_by_case_or_form_are_the_same(one: str, other: str) -> None:
    assert validation.name_key(one) == validation.name_key(other)


@pytest.mark.parametrize("value", ["sk-abc", "a b c", "env:OPENAI_API_KEY", "file:/run/secrets/key"])
def test_a_credential_or_a_reference_to_one_is_accepted(value: str) -> None:
    assert validation.credential_problem(value) is None


@pytest.mark.parametrize(
    "value", ["", " lead", "a\r\nX-Evil: 1", "ключ", "env:", "env:A-B", "env:1A", "file:", "file:relative", "x" * 9000]
)
def test_a_credential_that_could_not_travel_in_a_header_is_refused_without_being_repeated(value: str) -> None:
    problem = validation.credential_problem(value)
    assert problem
    assert "Evil" not in problem


@pytest.mark.parametrize("name", ["host", "Content-Length", "transfer-encoding", "x y", "x:y", ""])
def test_an_upstream_credential_cannot_replace_a_header_of_the_gateway(name: str) -> None:
    assert validation.header_name_problem(name)


def test_an_upstream_credential_may_travel_in_another_header() -> None:
    assert validation.header_name_problem("x-api-key") is None


@pytest.mark.parametrize(
    "value", ["*", "*.example.org", "http://x", "a b", "host:0", "host:99999", "user@host", "h/p", ""]
)
def test_ADM_02_an_allowed_host_is_exact(value: str) -> None:
    assert validation.allowed_hosts_problem([value])


@pytest.mark.parametrize(
    "value", ["*", "null", "https://*.example.org", "https://a.example/", "ftp://a.example", "a.example"]
)
def test_ADM_03_an_allowed_origin_is_exact(value: str) -> None:
    assert validation.allowed_origins_problem([value])


def test_exact_hosts_and_origins_are_accepted() -> None:
    assert validation.allowed_hosts_problem(["gateway.example.org", "gateway.example.org:4000", "[::1]:80"]) is None
    assert validation.allowed_origins_problem(["https://app.example.org", "http://127.0.0.1:3000"]) is None


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("192.0.2.1", "::", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "192.0.2.1", False),
        ("127.0.0.1", "192.0.2.1", False),
    ],
)
def test_listeners_on_one_port_collide_when_their_addresses_overlap(one: str, other: str, collide: bool) -> None:
    assert listeners_collide(one, other) is collide
    assert listeners_collide(other, one) is collide


def test_lists_are_bounded_and_without_repetition() -> None:
    assert validation.tags_problem(["a", "a"])
    assert validation.tags_problem([str(number) for number in range(21)])
    assert validation.tags_problem(["a,b"])
    assert validation.tags_problem(["production", "team a"]) is None
    assert validation.policy_names_problem(["a", "a"])
    assert validation.policy_names_problem([str(number) for number in range(21)])


@pytest.mark.parametrize("path", ["relative/cert.pem", "/a\x00b", "/" + "x" * 1000])
def test_a_file_path_is_absolute(path: str) -> None:
    assert validation.path_problem(path)


def test_a_certificate_needs_its_key() -> None:
    assert validation.pair_problems(cert="/a.pem", key="")["cert"]
    assert validation.pair_problems(cert="", key="/a.key")["cert"]
    assert validation.pair_problems(cert="/a.pem", key="a.key") == {"cert": None, "key": "Give an absolute path."}
    assert validation.pair_problems(cert="/a.pem", key="/a.key") == {"cert": None, "key": None}
    assert validation.pair_problems(cert="", key="") == {"cert": None, "key": None}
