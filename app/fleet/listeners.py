"""The listening sockets that the console holds for its proxies, and those that it could not get."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import msgspec

from app.errors import AppError
from app.fleet import ports
from app.fleet.reconcile import Address, Binding

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0


class Failure(msgspec.Struct, frozen=True):
    """Why a port could not be bound, and when to try again."""

    error: AppError
    retry_at: float
    """Monotonic seconds."""
    delay_seconds: float


class Listeners:
    """One socket per binding. `name_of` gives the name of a proxy for messages."""

    def __init__(self, console: Address, name_of: Callable[[str], str]) -> None:
        self._console = console
        self._name_of = name_of
        self._sockets: dict[Binding, socket.socket] = {}
        self._failures: dict[Binding, Failure] = {}

    def __repr__(self) -> str:
        return f"<Listeners bound={len(self._sockets)} failed={len(self._failures)}>"

    @property
    def bound(self) -> frozenset[Binding]:
        """Everything that is bound now."""
        return frozenset(self._sockets)

    def socket_of(self, binding: Binding) -> socket.socket:
        """The listening socket of a binding; raises KeyError when it is not bound."""
        return self._sockets[binding]

    def failure(self, binding: Binding) -> AppError | None:
        """Why this binding was not to be had at the last try."""
        failure = self._failures.get(binding)
        return failure.error if failure else None

    def waits(self, binding: Binding) -> bool:
        """Whether the next try is not due yet."""
        failure = self._failures.get(binding)
        return failure is not None and time.monotonic() < failure.retry_at

    def forgive(self, binding: Binding) -> None:
        """Forget a failure: the next try is due now."""
        self._failures.pop(binding, None)

    def keep_failures(self, bindings: frozenset[Binding]) -> None:
        """Forget the failures of everything else."""
        self._failures = {binding: failure for binding, failure in self._failures.items() if binding in bindings}

    def bind(self, binding: Binding) -> None:
        """Try to bind; a failure is noted with a later time for the next try."""
        before = self._failures.pop(binding, None)
        try:
            self._refuse_our_own(binding)
            self._sockets[binding] = ports.bind(binding.address)
        except AppError as error:
            delay_seconds = min(before.delay_seconds * 2, MAX_RETRY_SECONDS) if before else FIRST_RETRY_SECONDS
            self._failures[binding] = Failure(error, time.monotonic() + delay_seconds, delay_seconds)
            logger.warning("proxy %s cannot listen: %s", binding.proxy_id, error.message)

    def unbind(self, binding: Binding) -> None:
        """Close the socket of a binding."""
        self._sockets.pop(binding).close()

    def close(self) -> None:
        """Close every socket."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _refuse_our_own(self, binding: Binding) -> None:
        """Name the owner of a port that is ours; the operating system can only say that it is taken."""
        if ports.overlap(binding.address, self._console):
            raise ports.taken_by(binding.address, "the console")
        for other in self._sockets:
            if ports.overlap(binding.address, other.address):
                raise ports.taken_by(binding.address, f"proxy '{self._name_of(other.proxy_id)}'")
