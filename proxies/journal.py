"""Finished calls on their way to the console: batched, bounded, kept until they are committed there.

* A call with findings goes out at once; `record` returns when the kernel or the disk has it.
* Other calls wait up to 50 ms for company. Under pressure the oldest of them are dropped and counted.
* Every batch is kept until the console acknowledges that it is committed.
* When the console falls behind (more than `MAX_SENT_BYTES` not acknowledged, or its socket is full), calls with
  findings go to a spool file instead, and the channel stays free for everything else.
* Captured texts never stand in the way of a record: when much waits they are dropped and counted before any call is, and
  they never go to the spool file.

Calls are encoded when they are recorded: sizes are exact, nothing is encoded twice, and bytes are smaller than objects.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import msgspec

from proxies.channel import Channel
from proxies.contract import CallRecord, encoder
from proxies.encoded import NO_TEXTS, EncodedCall, EncodedEvents
from proxies.spool import SpoolFile

logger = logging.getLogger(__name__)

BATCH_DELAY_SECONDS = 0.05
BATCH_BYTES = 128 * 1024
"""A batch goes out when it has this size, whatever its age."""
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Bound of the calls without findings that wait for the channel; beyond, the oldest are dropped."""
MAX_SENT_BYTES = 8 * 1024 * 1024
"""What the console may hold unacknowledged: the bound of its own queue for this worker."""
MAX_TEXTS_BYTES = 4 * 1024 * 1024
"""Calls are taken without their captured texts while this much waits for the channel or for the console."""
MAX_CALL_BYTES = 1024 * 1024
MAX_FINDINGS_OF_LARGE_CALL = 100
MAX_PATH_OF_LARGE_CALL = 500


class Waiting:
    """A queue of encoded calls that knows its size in bytes."""

    __slots__ = ("calls", "size")

    def __init__(self) -> None:
        self.calls: deque[EncodedCall] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self.calls)

    def put(self, call: EncodedCall) -> None:
        """Add one at the end."""
        self.calls.append(call)
        self.size += call.size

    def take(self) -> EncodedCall:
        """Remove the oldest."""
        call = self.calls.popleft()
        self.size -= call.size
        return call

    def take_up_to(self, size_bytes: int) -> list[EncodedCall]:
        """Remove the oldest calls up to this size, at least one if there is one and room is left."""
        taken: list[EncodedCall] = []
        while self.calls and size_bytes > 0:
            taken.append(self.take())
            size_bytes -= taken[-1].size
        return taken

    def drop_texts(self) -> int:
        """Forget the captured texts of every call; returns how many calls had some."""
        count = 0
        for call in self.calls:
            if call.has_texts:
                self.size -= call.drop_texts()
                count += 1
        return count

    def clear(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.size = 0


class Journal:
    """The `Recorder` of a worker."""

    def __init__(self, channel: Channel, spool: SpoolFile) -> None:
        self._channel = channel
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._plain = Waiting()
        self._urgent = Waiting()
        self._dropped = 0
        self._texts_dropped = 0
        self._sequence = 0
        self._sent: dict[int, tuple[list[EncodedCall], int]] = {}
        """The calls of every batch that is not acknowledged, and their bytes, by sequence number."""
        self._sent_bytes = 0
        self._idle = asyncio.Event()
        """Set while nothing is in the way of `settled`; only looked after while somebody waits there."""

    def __repr__(self) -> str:
        return f"<Journal unacknowledged={self.unacknowledged} dropped={self._dropped}>"

    @property
    def unacknowledged(self) -> int:
        """Calls that are not known to be committed, without those on disk."""
        return len(self._plain.calls) + len(self._urgent.calls) + sum(len(calls) for calls, _ in self._sent.values())

    def record(self, call: CallRecord) -> None:
        """Take a finished call. One with findings is the kernel's or the disk's when this returns."""
        if call.texts and (self._channel.closed or self._plain.size + self._sent_bytes > MAX_TEXTS_BYTES):
            self._texts_dropped += 1
            call = msgspec.structs.replace(call, texts=())
        encoded = _encode(call)
        if call.findings or call.outcome == "blocked":
            self._urgent.put(encoded)
            self.flush()
            return
        plain = self._plain
        plain.calls.append(encoded)
        plain.size += encoded.size
        if plain.size > MAX_WAITING_BYTES:
            self._bound(plain)
        if plain.size >= BATCH_BYTES and self._may_send():
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(BATCH_DELAY_SECONDS, self.flush)

    def flush(self) -> None:
        """Send what waits, as far as the console keeps up; put what must not be lost on disk otherwise."""
        self._cancel_timer()
        while (self._urgent or self._plain) and self._may_send():
            self._send_batch()
        if self._urgent:
            self._to_disk(self._urgent)
        elif self._spool.open and self._may_send():
            self._close_spool()
        self._note_idle()

    def acknowledge(self, sequence: int) -> None:
        """The console has committed this batch."""
        _, size = self._sent.pop(sequence, ((), 0))
        self._sent_bytes -= size
        # Plain calls wait for their timer: a console that commits fast must not turn every few calls into a batch.
        if self._urgent or self._spool.open or (self._plain and self._timer is None):
            self.flush()
        self._note_idle()

    async def settled(self) -> None:
        """Wait until everything is acknowledged or on disk."""
        self._idle.clear()
        self._note_idle()
        await self._idle.wait()

    def close(self) -> None:
        """Put everything that is not acknowledged on disk, durably. Calls recorded later need another `close`."""
        self._cancel_timer()
        for calls, _ in self._sent.values():
            for call in calls:
                self._plain.put(call)
        self._sent.clear()
        self._sent_bytes = 0
        self._to_disk(self._urgent)
        self._to_disk(self._plain)
        self._close_spool()
        self._note_idle()

    def _bound(self, waiting: Waiting) -> None:
        """Make room: captured texts go first, then the oldest calls."""
        if waiting.size > MAX_WAITING_BYTES:
            self._texts_dropped += waiting.drop_texts()
        while waiting.size > MAX_WAITING_BYTES:
            waiting.take()
            self._dropped += 1

    def _may_send(self) -> bool:
        return not self._channel.closed and not self._channel.blocked and self._sent_bytes < MAX_SENT_BYTES

    def _send_batch(self) -> None:
        urgent = self._urgent.take_up_to(BATCH_BYTES)
        calls = urgent + self._plain.take_up_to(BATCH_BYTES - sum([call.size for call in urgent]))
        size = sum([call.size for call in calls])
        self._sequence += 1
        self._sent[self._sequence] = calls, size
        self._sent_bytes += size
        encoded = [msgspec.Raw(call.whole()) for call in calls]
        batch = EncodedEvents(self._sequence, encoded, self._dropped, self._texts_dropped)
        self._dropped = self._texts_dropped = 0
        if not self._channel.send_encoded(encoder.encode(batch)):
            # Only a part is in the kernel, or nothing: the disk has to vouch for the findings. The console may see
            # these calls twice and keeps them once.
            for call in urgent:
                self._urgent.put(call)

    def _to_disk(self, waiting: Waiting) -> None:
        if not waiting:
            return
        try:
            self._spool.append(call.without_texts() for call in waiting.calls)
        except OSError as error:
            logger.error("%d calls cannot be spooled and stay in memory: %s", len(waiting.calls), error)
            self._bound(waiting)
            return
        self._texts_dropped += sum(call.has_texts for call in waiting.calls)
        waiting.clear()

    def _close_spool(self) -> None:
        try:
            self._spool.close()
        except OSError as error:
            logger.error("the spool file may not be durable: %s", error)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note_idle(self) -> None:
        if not (self._sent or self._urgent or self._plain):
            self._idle.set()


def _encode(call: CallRecord) -> EncodedCall:
    """The record as MessagePack. One of absurd size (a hostile client chooses JSON keys, and so paths) is shortened."""
    if call.texts:
        texts = encoder.encode(call.texts)
        head = _head(msgspec.structs.replace(call, texts=()))
    else:
        texts = NO_TEXTS
        head = encoder.encode(call)[: -len(NO_TEXTS)]
    if len(head) <= MAX_CALL_BYTES:
        return EncodedCall(head, texts, len(head) + len(texts))
    findings = tuple(
        msgspec.structs.replace(finding, path=finding.path[:MAX_PATH_OF_LARGE_CALL])
        for finding in call.findings[:MAX_FINDINGS_OF_LARGE_CALL]
    )
    logger.warning("call %s has %d findings and is recorded shortened", call.id, len(call.findings))
    head = _head(msgspec.structs.replace(call, findings=findings, texts=()))
    return EncodedCall(head, texts, len(head) + len(texts))


def _head(call: CallRecord) -> bytes:
    """Everything but the value of the last field."""
    return encoder.encode(call)[: -len(NO_TEXTS)]
