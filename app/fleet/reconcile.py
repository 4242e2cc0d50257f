"""What has to be done so that the workers serve what is wanted. Pure: (wanted, actual) → ordered actions.

The order is what makes it safe:

1. Workers let go of sockets that are not to be served (`Publish`): a port is free only when nobody holds it any more.
2. The console closes its own sockets of proxies that are gone or have moved (`Unbind`).
3. It binds what is missing (`Bind`). This is the step that can fail; the failed proxy is then no longer wanted.
4. It passes sockets to the workers that lack them (`Pass`), and only then
5. tells the workers what to serve (`Publish`).

Doing the actions leads to the wanted state; planning again from there gives nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

FIRST_SLOT = 0


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a proxy listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Binding(msgspec.Struct, frozen=True, order=True):
    """One proxy at one address."""

    proxy_id: str
    address: Address


class Wanted(msgspec.Struct, frozen=True):
    """What should be."""

    bound: frozenset[Binding]
    """Sockets that the console should hold."""
    served: frozenset[Binding]
    """Those of them that workers should serve; a proxy that restarts is bound but not served for a moment."""
    revision: int
    """Counts changes of the configuration."""
    single: frozenset[Binding] = frozenset()
    """Those that the first worker serves alone, because their sessions live in its memory."""

    def share(self, slot: int) -> frozenset[Binding]:
        """What the worker in this slot should serve."""
        return self.served if slot == FIRST_SLOT else self.served - self.single


class WorkerView(msgspec.Struct, frozen=True):
    """What one living worker has."""

    held: frozenset[Binding] = frozenset()
    """Sockets that were passed to it and not let go of."""
    served: frozenset[Binding] = frozenset()
    """What the last snapshot that it answered told it to serve."""
    revision: int = 0
    """The configuration behind that snapshot; 0 before the first."""


class Actual(msgspec.Struct, frozen=True):
    """What is."""

    bound: frozenset[Binding]
    workers: Mapping[int, WorkerView]
    """By slot number."""


class Unbind(msgspec.Struct, frozen=True):
    """Close the console's listening socket."""

    binding: Binding


class Bind(msgspec.Struct, frozen=True):
    """Bind and listen; may fail, and then the proxy is `failed`."""

    binding: Binding


class Pass(msgspec.Struct, frozen=True):
    """Pass a listening socket to a worker."""

    worker: int
    binding: Binding


class Publish(msgspec.Struct, frozen=True):
    """Send each of these workers a snapshot with its share of these proxies, and wait for their answers."""

    workers: tuple[int, ...]
    served: frozenset[Binding]


Action = Unbind | Bind | Pass | Publish


def plan(wanted: Wanted, actual: Actual) -> tuple[Action, ...]:
    """The actions that lead from `actual` to `wanted`, in the order in which they must be done."""
    ready = wanted.served & actual.bound
    releasing = {slot for slot, worker in actual.workers.items() if worker.held - wanted.share(slot)}
    actions: list[Action] = []
    if releasing:
        actions.append(Publish(tuple(sorted(releasing)), ready))
    actions += [Unbind(binding) for binding in sorted(actual.bound - wanted.bound)]
    actions += [Bind(binding) for binding in sorted(wanted.bound - actual.bound)]
    for slot, worker in sorted(actual.workers.items()):
        actions += [Pass(slot, binding) for binding in sorted(wanted.share(slot) - worker.held)]
    behind = {
        slot
        for slot, worker in actual.workers.items()
        if slot not in releasing and (worker.served, worker.revision) != (wanted.share(slot), wanted.revision)
    }
    if ready != wanted.served:
        behind |= releasing
    if behind:
        actions.append(Publish(tuple(sorted(behind)), wanted.served))
    return tuple(actions)
