"""The messages on the two channels, and how they are encoded."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxies.contract.configuration import Snapshot
from proxies.contract.mcp import Discover, HeldCall, HoldEnded, Judged, Observed, Release, ServerReport
from proxies.contract.records import CallRecord
from proxies.contract.scan import CancelScan, ScanFinished, ScanProgress, StartScan

CONTRACT_VERSION = 2
FRAME_HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024


class ListenerSocket(msgspec.Struct, frozen=True):
    """Accompanies one listening socket on the socket channel."""

    proxy_id: str
    host: str
    port: int
    snapshot_version: int = 0
    """The snapshot that asks for this socket; a socket that neither it nor a later one names is closed."""


class SetSnapshot(msgspec.Struct, tag="set_snapshot", frozen=True):
    """Swap to this configuration; answered by `SnapshotApplied` or `SnapshotRejected`."""

    snapshot: Snapshot


class AckEvents(msgspec.Struct, tag="ack_events", frozen=True):
    """The batch with this sequence number is committed; the worker may forget it."""

    sequence: int


class Drain(msgspec.Struct, tag="drain", frozen=True):
    """Stop accepting, finish what is in flight within the deadline, send the last events, exit."""

    deadline_seconds: float


ToWorker = SetSnapshot | AckEvents | Drain | Discover | Judged | Release | StartScan | CancelScan


class Hello(msgspec.Struct, tag="hello", frozen=True):
    """First message of a worker."""

    contract_version: int
    version: str
    pid: int


class ListenerStatus(msgspec.Struct, frozen=True):
    """How one proxy stands in this worker after a snapshot."""

    proxy_id: str
    state: Literal["running", "draining", "stopped", "failed"]
    reason: str = ""
    """Why it failed; of a running one why its server cannot be used now, which makes it `degraded`."""


class SnapshotApplied(msgspec.Struct, tag="snapshot_applied", frozen=True):
    """The snapshot is in force. Sent again, with the same version, when a listener's status changes later."""

    version: int
    listeners: tuple[ListenerStatus, ...]


class SnapshotRejected(msgspec.Struct, tag="snapshot_rejected", frozen=True):
    """The old snapshot stays in force."""

    version: int
    reason: str


class Events(msgspec.Struct, tag="events", frozen=True):
    """A batch of calls; kept by the worker until `AckEvents` with the same sequence number."""

    sequence: int
    calls: tuple[CallRecord, ...]
    calls_dropped: int = 0
    """Calls without findings that were dropped under pressure since the last batch."""
    texts_dropped: int = 0
    """Calls whose captured texts were dropped under pressure since the last batch."""


class Heartbeat(msgspec.Struct, tag="heartbeat", frozen=True):
    """Every few seconds: the worker lives, and how busy it is."""

    at: float
    connections: int
    in_flight: int
    loop_lag_ms: float
    """The worst delay of the event loop since the last heartbeat."""
    rss_bytes: int
    unacknowledged_events: int


ToConsole = (
    Hello
    | SnapshotApplied
    | SnapshotRejected
    | Events
    | Heartbeat
    | Observed
    | HeldCall
    | HoldEnded
    | ServerReport
    | ScanProgress
    | ScanFinished
)


class Spool(msgspec.Struct, frozen=True):
    """A spool file: what a worker had not seen acknowledged when its channel closed."""

    contract_version: int
    calls: tuple[CallRecord, ...]


encoder = msgspec.msgpack.Encoder()
to_worker_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_console_decoder: msgspec.msgpack.Decoder[ToConsole] = msgspec.msgpack.Decoder(ToConsole)
socket_decoder: msgspec.msgpack.Decoder[ListenerSocket] = msgspec.msgpack.Decoder(ListenerSocket)
spool_decoder: msgspec.msgpack.Decoder[Spool] = msgspec.msgpack.Decoder(Spool)
