"""Binding ports, and the words for why that is impossible."""

from __future__ import annotations

import errno
import socket

import pytest

from app.fleet import ports
from app.fleet.listeners import FIRST_RETRY_SECONDS, Listeners
from app.fleet.ports import HostInvalid, PortForbidden, PortTaken, bind, overlap, taken_by
from app.fleet.reconcile import Address, Binding
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("host", "target"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")],
)
def test_bound_socket_accepts_connections_without_blocking(host: str, target: str) -> None:
    port = free_port()
    with bind(Address(host, port)) as sock:
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        with socket.create_connection((target, port)):
            sock.accept()[0].close()


def test_RUN_04_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken) as refused:
            bind(Address("127.0.0.1", port))
    assert refused.value.status == 409
    assert refused.value.code == "port_taken"
    assert str(port) in refused.value.message
    assert "port" in refused.value.fields


def test_port_in_time_wait_is_bound_again() -> None:
    port = free_port()
    for _ in range(2):
        with bind(Address("127.0.0.1", port)) as sock, socket.create_connection(("127.0.0.1", port)):
            accepted, _ = sock.accept()
            accepted.close()


@pytest.mark.parametrize(
    ("number", "port", "error", "words"),
    [
        (errno.EACCES, 443, PortForbidden, "CAP_NET_BIND_SERVICE"),
        (errno.EPERM, 4000, PortForbidden, "another port"),
        (errno.EADDRINUSE, 4000, PortTaken, "another port"),
        (errno.EADDRNOTAVAIL, 4000, HostInvalid, "address of this machine"),
        (errno.ENOBUFS, 4000, PortForbidden, "another port"),
    ],
)
def test_RUN_04_refusals_of_the_system_are_explained(
    number: int, port: int, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(number, "refused by the test")

    monkeypatch.setattr(ports.socket, "socket", Refusing)
    with pytest.raises(error) as refused:
        bind(Address("127.0.0.1", port))
    assert words in refused.value.remediation  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["example.com", "", "256.0.0.1", "127.0.0.1:80", "fe80::1%nope", "a\x00b"])
def test_RUN_04_host_that_is_no_address_is_refused_without_a_lookup(host: str) -> None:
    with pytest.raises(HostInvalid) as refused:
        bind(Address(host, 4000))
    assert refused.value.status == 422


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(HostInvalid):
        bind(Address("192.0.2.1", free_port()))


def test_port_beyond_the_range_is_refused() -> None:
    with pytest.raises(PortForbidden):
        bind(Address("127.0.0.1", 70000))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 1), True),
        (("127.0.0.1", 1), ("localhost", 1), True),
        (("127.0.0.1", 1), ("0.0.0.0", 1), True),
        (("127.0.0.1", 1), ("127.0.0.2", 1), False),
        (("127.0.0.1", 1), ("127.0.0.1", 2), False),
        (("::1", 1), ("::", 1), True),
        (("::", 1), ("0.0.0.0", 1), False),
    ],
)
def test_overlapping_addresses(one: tuple[str, int], other: tuple[str, int], expected: bool) -> None:
    assert overlap(Address(*one), Address(*other)) is expected
    assert overlap(Address(*other), Address(*one)) is expected


def test_error_names_the_owner() -> None:
    assert "proxy 'x'" in taken_by(Address("127.0.0.1", 1), "proxy 'x'").message


def test_listeners_wait_longer_after_every_failure_and_forget_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.fleet.listeners.time.monotonic", lambda: now)
    listeners = Listeners(Address("127.0.0.1", 1), lambda proxy_id: proxy_id)
    with socket.create_server(("127.0.0.1", 0)) as other:
        binding = Binding("prx_a", Address("127.0.0.1", other.getsockname()[1]))
        delays = []
        for _ in range(7):
            listeners.bind(binding)
            assert listeners.waits(binding)
            before = now
            while listeners.waits(binding):
                now += 0.5
            delays.append(now - before)
        assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert isinstance(listeners.failure(binding), PortTaken)
        assert listeners.bound == frozenset()
    listeners.forgive(binding)
    assert listeners.failure(binding) is None
    listeners.bind(binding)
    assert listeners.bound == {binding}
    assert listeners.socket_of(binding).getsockname()[1] == binding.address.port
    listeners.close()
    assert listeners.bound == frozenset()
    assert FIRST_RETRY_SECONDS == 1.0


def test_listeners_forget_failures_of_what_is_not_wanted_any_more() -> None:
    listeners = Listeners(Address("127.0.0.1", 1), lambda proxy_id: proxy_id)
    binding = Binding("prx_a", Address("nonsense", 1))
    listeners.bind(binding)
    assert "failed=1" in repr(listeners)
    listeners.keep_failures(frozenset())
    assert listeners.failure(binding) is None
