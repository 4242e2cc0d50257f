"""Which hosts the arguments of a call name, and whether the list of a proxy allows them."""

from __future__ import annotations

import pytest

from proxies.mcp.egress import MAX_FINDINGS, RESOURCE_PATH, findings, host_of, is_allowed
from rules.model import Action, Target, Text

HOSTS = ("api.example.org", "*.example.net", "192.0.2.7", "2001:db8::1")


def refused(text: str, path: str = "/params/arguments/text") -> list[str]:
    """The hosts in one argument that are not allowed."""
    return [one.evidence for one in findings(HOSTS, [Text(Target.TOOL_ARGS, path, text)])]


@pytest.mark.parametrize(
    "text",
    [
        "https://api.example.org/v1?x=https",
        "HTTPS://API.EXAMPLE.ORG:8443/",
        "see https://a.example.net and https://b.c.example.net.",
        "https://user:password@api.example.org/",
        "postgres://192.0.2.7:5432/db",
        "http://[2001:db8::1]/",
        "https://api.example.org.",
        "no address at all, and 12:30 // a comment",
        "a//b and C:\\\\folder",
        "mailto:anna@evil.example",
        "",
    ],
)
def test_SLG_ROAD_3_what_the_list_names_may_be_reached(text: str) -> None:
    assert refused(text) == []


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://evil.example/?q=1", "evil.example"),
        ("go to https://api.example.org.evil.example now", "api.example.org.evil.example"),
        ("https://example.net/", "example.net"),
        ("https://notexample.net/", "notexample.net"),
        ("https://api.example.org@evil.example/", "evil.example"),
        ("https:\\\\evil.example\\a", "evil.example"),
        ("http:evil.example", "evil.example"),
        ("https:////evil.example", "evil.example"),
        ("//evil.example/x", "evil.example"),
        ("\\\\evil.example\\share", "evil.example"),
        ("ftp://evil.example", "evil.example"),
        ("jdbc:mysql://evil.example:3306/x", "evil.example"),
        ("http://2130706433/", "2130706433"),
        ("http://[::1]:80/", "::1"),
        ("https://ev%69l.example/", "evil.example"),
        ("https%3A%2F%2Fevil.example", "evil.example"),
        ("ｈｔｔｐｓ：／／evil.example", "evil.example"),
        ("https://evil。example/", "evil.example"),
        ("https://аpi.example.org/", "xn--pi-6kc.example.org"),
        ("https://" + "ü" * 100 + ".example/", "a host that cannot be made out"),
    ],
)
def test_SLG_ROAD_3_every_spelling_of_another_host_is_refused(text: str, host: str) -> None:
    found = refused(text)
    assert found
    assert set(found) == {host}


@pytest.mark.parametrize("name", ["url", "callback_host", "webhookEndpoint", "server", "domain"])
def test_SLG_ROAD_3_a_host_without_a_scheme_counts_where_a_host_is_asked_for(name: str) -> None:
    path = f"/params/arguments/{name}"
    assert refused("evil.example", path) == refused("evil.example:443/path", path) == ["evil.example"]
    assert refused("localhost", path) == ["localhost"]
    assert refused("api.example.org", path) == refused("a.example.net/x", path) == []
    assert refused("the main entrance", path) == []
    assert refused("evil.example", "/params/arguments/note") == []


def test_SLG_ROAD_3_resources_are_held_to_it_where_they_lie_in_the_network() -> None:
    assert refused("https://evil.example/a", RESOURCE_PATH) == ["evil.example"]
    assert refused("docs://manual/1", RESOURCE_PATH) == []


def test_what_is_no_argument_is_not_looked_at_and_findings_are_bounded() -> None:
    far = "https://evil.example/ " * 100
    assert refused(far, "/params/_meta/clientInfo/websiteUrl") == []
    assert findings(HOSTS, [Text(Target.TOOL_RESULT, "/params/arguments/a", far)]) == []
    found = findings(HOSTS, [Text(Target.TOOL_ARGS, "/params/arguments/a", far)])
    assert len(found) == MAX_FINDINGS
    assert found[0].action is Action.BLOCK
    assert far[found[0].start : found[0].end] == "evil.example"


def test_hosts_are_compared_as_they_are_written_in_the_list() -> None:
    assert is_allowed("api.example.org", HOSTS)
    assert not is_allowed("", HOSTS)
    assert host_of("[2001:DB8::1]:443") == "2001:db8::1"
