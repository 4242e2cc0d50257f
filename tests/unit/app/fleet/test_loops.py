"""Targets that lead back into this installation."""

from __future__ import annotations

import pytest

from app.fleet.loops import Hop, console_problem, loop_problem, reaches
from app.fleet.reconcile import Address


def hop(name: str, port: int, target_url: str, host: str = "127.0.0.1") -> Hop:
    return Hop(name, Address(host, port), target_url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:4000", "127.0.0.1"),
        ("https://127.0.0.1:4000/v1", "127.0.0.1"),
        ("http://LocalHost:4000", "127.0.0.1"),
        ("http://localhost:4000", "localhost"),
        ("http://proxy.localhost:4000", "127.0.0.1"),
        ("http://127.0.0.1:4000", "localhost"),
        ("http://127.8.8.8:4000", "0.0.0.0"),
        ("http://[::1]:4000", "::"),
        ("http://[::1]:4000", "::1"),
        ("http://[0:0::1]:4000", "::1"),
        ("http://[::ffff:127.0.0.1]:4000", "127.0.0.1"),
        ("http://192.0.2.7:4000", "192.0.2.7"),
        ("http://console.example.org:4000", "console.example.org"),
    ],
)
def test_SSRF_07_a_target_that_arrives_at_a_listener_is_recognised(url: str, host: str) -> None:
    assert reaches(url, Address(host, 4000))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:4001", "127.0.0.1"),
        ("http://127.0.0.2:4000", "127.0.0.1"),
        ("http://192.0.2.7:4000", "127.0.0.1"),
        ("http://192.0.2.7:4000", "192.0.2.8"),
        ("http://[::1]:4000", "0.0.0.0"),
        ("http://api.example.org:4000", "0.0.0.0"),
        ("http://127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_target_elsewhere_is_not(url: str, host: str) -> None:
    assert not reaches(url, Address(host, 4000))


def test_a_default_port_counts() -> None:
    assert reaches("http://127.0.0.1", Address("127.0.0.1", 80))
    assert reaches("https://127.0.0.1", Address("127.0.0.1", 443))


def test_SSRF_07_a_chain_that_ends_elsewhere_is_allowed_and_one_that_comes_back_is_not() -> None:
    one = hop("one", 4000, "http://127.0.0.1:4001")
    two = hop("two", 4001, "http://127.0.0.1:4002")
    three = hop("three", 4002, "https://api.example.org")
    assert loop_problem(one, [two, three]) is None
    back = hop("three", 4002, "http://localhost:4000/v1")
    problem = loop_problem(one, [two, back]) or ""
    assert "by way of two, three" in problem
    assert "upstream" in problem
    assert "own address" in (loop_problem(hop("one", 4000, "http://localhost:4000"), []) or "")


def test_SSRF_07_a_loop_that_others_have_does_not_hang_the_check() -> None:
    two = hop("two", 4001, "http://127.0.0.1:4002")
    three = hop("three", 4002, "http://127.0.0.1:4001")
    assert loop_problem(hop("one", 4000, "http://127.0.0.1:4001"), [two, three]) is None


def test_SSRF_07_the_console_is_no_upstream() -> None:
    assert console_problem("http://localhost:8080/api", Address("127.0.0.1", 8080))
    assert console_problem("http://localhost:8081", Address("127.0.0.1", 8080)) is None
