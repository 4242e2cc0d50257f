"""The states of a proxy, the moves between them, and how the state follows from what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from proxies.contract import ListenerStatus


class ProxyState(StrEnum):
    """Where a proxy is in its life. The value is what the API, the events and the UI show."""

    STOPPED = "stopped"
    """Nobody asked for it: no port is held and no call is served."""
    STARTING = "starting"
    """Wanted; its port is being bound or a worker is taking it over. Connections wait once it is bound."""
    RUNNING = "running"
    """Every worker serves it under the newest snapshot."""
    DEGRADED = "degraded"
    """It serves, but not as configured: a worker is being replaced, one refused the newest snapshot, or the server that it
    starts does not come up."""
    DRAINING = "draining"
    """Stopped for new connections; calls in flight are finishing."""
    FAILED = "failed"
    """Wanted and unable to serve; the reason says why, and other proxies are untouched."""

    @property
    def serves(self) -> bool:
        """Whether clients get answers."""
        return self in (ProxyState.RUNNING, ProxyState.DEGRADED)

    @property
    def occupied(self) -> bool:
        """Whether a port or a call is still held, so that the proxy must not be deleted."""
        return self not in (ProxyState.STOPPED, ProxyState.FAILED)


REFUSED: Final = "The newest configuration was refused"
"""How the reason of a proxy begins whose newest configuration no worker takes."""

MOVES: Final[Mapping[ProxyState, frozenset[ProxyState]]] = {
    ProxyState.STOPPED: frozenset(
        {
            ProxyState.STARTING,
        }
    ),
    ProxyState.STARTING: frozenset(
        {
            ProxyState.RUNNING,
            ProxyState.DEGRADED,
            ProxyState.FAILED,
            ProxyState.DRAINING,
            ProxyState.STOPPED,
        }
    ),
    ProxyState.RUNNING: frozenset(
        {
            ProxyState.DEGRADED,
            ProxyState.DRAINING,
            ProxyState.FAILED,
            ProxyState.STOPPED,
            ProxyState.STARTING,
        }
    ),
    ProxyState.DEGRADED: frozenset(
        {
            ProxyState.RUNNING,
            ProxyState.DRAINING,
            ProxyState.FAILED,
            ProxyState.STOPPED,
            ProxyState.STARTING,
        }
    ),
    ProxyState.DRAINING: frozenset(
        {
            ProxyState.STOPPED,
            ProxyState.STARTING,
            ProxyState.FAILED,
        }
    ),
    ProxyState.FAILED: frozenset(
        {
            ProxyState.STARTING,
            ProxyState.STOPPED,
            ProxyState.DRAINING,
        }
    ),
}
"""The allowed moves. A proxy never begins to serve without having been `starting`."""


def moves(before: ProxyState, after: ProxyState) -> tuple[ProxyState, ...]:
    """The states to pass through, the last one being `after`; empty when nothing changes."""
    if before is after:
        return ()
    return (after,) if after in MOVES[before] else (ProxyState.STARTING, after)


class ProxyStatus(msgspec.Struct, frozen=True):
    """How one proxy stands right now, over all workers."""

    proxy_id: str
    state: ProxyState
    reason: str
    """One sentence for a state that needs one (failed, degraded, starting); empty otherwise."""
    since_at: datetime
    """When the state (not the reason) last changed; aware UTC."""
    workers_live: int
    """Workers that serve it under the newest snapshot."""
    workers_total: int
    snapshot_version: int
    """The newest snapshot that every serving worker has in force; 0 before the first."""


class WorkerReport(msgspec.Struct, frozen=True):
    """What one worker slot says about its proxies. A slot whose worker is dead or not yet greeted is not `live`."""

    live: bool
    listeners: Mapping[str, ListenerStatus]
    version: int
    """The snapshot that is in force there."""
    crash_loop: str = ""
    """Why the slot is not being restarted at once; empty when it is."""


def judge(
    proxy_id: str, *, wanted: bool, failure: str, refused: str, reports: Sequence[WorkerReport], waiting: str = ""
) -> tuple[ProxyState, str, int]:
    """State, reason and number of serving workers of one proxy.

    `failure` is why the console itself cannot offer the proxy (port, configuration); empty when it can. `refused` is why
    workers refused the newest configuration of this proxy, so that an older one is in force; empty when they did not.
    `waiting` is what it has to wait for before a worker may get it; empty when there is nothing.
    """
    found: dict[str, list[ListenerStatus]] = {"running": [], "draining": [], "failed": [], "stopped": []}
    for report in reports:
        if report.live and (status := report.listeners.get(proxy_id)):
            found[status.state].append(status)
    serving = len(found["running"])
    trouble = next((status.reason for status in found["running"] if status.reason), "")
    if failure:
        return ProxyState.FAILED, failure, serving
    if not wanted:
        return (ProxyState.DRAINING if found["draining"] or serving else ProxyState.STOPPED), "", serving
    if waiting and not serving:
        return ProxyState.STARTING, waiting, 0
    if not serving:
        return *_without_service(found["failed"], reports), 0
    state, reason = _with_service(found["failed"], serving, refused, len(reports))
    if state is ProxyState.RUNNING and trouble:
        return ProxyState.DEGRADED, trouble, serving
    return state, reason, serving


def _without_service(failed: list[ListenerStatus], reports: Sequence[WorkerReport]) -> tuple[ProxyState, str]:
    if failed:
        return ProxyState.FAILED, failed[0].reason
    looping = [report.crash_loop for report in reports if report.crash_loop]
    if looping and len(looping) == len(reports):
        return ProxyState.FAILED, looping[0]
    if any(report.live for report in reports):
        return ProxyState.STARTING, ""
    return ProxyState.STARTING, "The worker is starting; connections wait until it is there."


def _with_service(failed: list[ListenerStatus], serving: int, refused: str, total: int) -> tuple[ProxyState, str]:
    if failed:
        return ProxyState.DEGRADED, failed[0].reason
    if refused:
        return ProxyState.DEGRADED, f"{REFUSED}, the one before is in force: {refused}"
    if serving < total:
        return ProxyState.DEGRADED, f"{serving} of {total} workers serve it; the others are being replaced."
    return ProxyState.RUNNING, ""


def is_refused(status: ProxyStatus) -> bool:
    """Whether the proxy serves under an older configuration than the one that was saved."""
    return status.state is ProxyState.DEGRADED and status.reason.startswith(REFUSED)
