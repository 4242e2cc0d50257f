"""Calls on their way to the console: what is promised about them under every kind of pressure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from app.fleet.spool import parse
from proxies import journal as journal_module
from proxies.channel import Channel, FrameReader
from proxies.contract import CallRecord, CapturedText, Events, to_console_decoder
from proxies.journal import Journal
from proxies.spool import SpoolFile
from rules.model import Target
from tests.support.records import FINDING, blocked_call
from tests.support.records import call as plain_call

TEXTS = (CapturedText("request", Target.PROMPT, "/messages/0/content", "hello " * 100),)


class Console:
    """The console's end: reads what is in the kernel, acknowledges by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        self.reader = FrameReader()
        self.channel = Channel(
            theirs,
            on_message=lambda message: None,
            on_writable=self._flush,
            on_closed=lambda reason: None,
        )
        self.journal = Journal(self.channel, SpoolFile(directory))
        self.dropped = 0
        self.texts_dropped = 0

    def _flush(self) -> None:
        self.journal.flush()

    def batches(self) -> list[Events]:
        """The batches that are in the kernel right now."""
        found: list[Events] = []
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                break
            for payload in self.reader.feed(data):
                message = to_console_decoder.decode(payload)
                assert isinstance(message, Events)
                found.append(message)
        self.dropped += sum(batch.calls_dropped for batch in found)
        self.texts_dropped += sum(batch.texts_dropped for batch in found)
        return found

    def calls(self) -> list[CallRecord]:
        return [call for batch in self.batches() for call in batch.calls]

    def spooled(self) -> list[CallRecord]:
        return [call for path in sorted(self.directory.iterdir()) for call in parse(path.read_bytes()).calls]


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    console = Console(tmp_path)
    yield console
    console.channel.close()
    console.socket.close()


async def test_call_with_findings_is_in_the_kernel_when_record_returns(console: Console) -> None:
    call = blocked_call()
    console.journal.record(call)
    assert console.calls() == [call]


async def test_block_without_findings_is_urgent_too(console: Console) -> None:
    call = blocked_call(findings=())
    console.journal.record(call)
    assert console.calls() == [call]


async def test_plain_calls_wait_for_company_and_go_out_together(console: Console) -> None:
    calls = [plain_call() for _ in range(5)]
    for call in calls:
        console.journal.record(call)
    assert console.batches() == []
    while not (found := console.batches()):
        await asyncio.sleep(0.005)
    assert [batch.calls for batch in found] == [tuple(calls)]


async def test_urgent_call_takes_the_waiting_ones_along(console: Console) -> None:
    first, second = plain_call(), blocked_call()
    console.journal.record(first)
    console.journal.record(second)
    assert {call.id for call in console.calls()} == {first.id, second.id}


async def test_large_batch_does_not_wait(console: Console) -> None:
    for _ in range(400):
        console.journal.record(plain_call())
    assert len(console.calls()) > 100


async def test_batches_are_kept_until_acknowledged(console: Console) -> None:
    call = blocked_call()
    console.journal.record(call)
    [batch] = console.batches()
    assert console.journal.unacknowledged == 1
    console.journal.acknowledge(batch.sequence)
    console.journal.acknowledge(batch.sequence)  # A second time means nothing.
    assert console.journal.unacknowledged == 0
    await console.journal.settled()
    console.journal.close()
    assert console.spooled() == []


async def test_unacknowledged_and_waiting_calls_are_spooled_at_the_end(console: Console) -> None:
    sent, waiting = blocked_call(), plain_call()
    console.journal.record(sent)
    console.journal.record(waiting)
    console.journal.close()
    assert {call.id for call in console.spooled()} == {sent.id, waiting.id}
    assert console.journal.unacknowledged == 0


async def test_calls_after_the_console_is_gone_are_spooled(console: Console) -> None:
    console.channel.close()
    urgent, plain = blocked_call(), plain_call()
    console.journal.record(urgent)
    assert console.spooled() == [urgent]
    console.journal.record(plain)
    console.journal.close()
    assert {call.id for call in console.spooled()} == {urgent.id, plain.id}


async def test_full_socket_sends_findings_to_the_disk_and_nothing_is_lost(console: Console) -> None:
    """At every moment each recorded call is whole in the kernel or on the disk, so killing the worker loses none."""
    recorded = []
    while not console.channel.blocked:
        recorded.append(blocked_call(reason="x" * 2000))
        console.journal.record(recorded[-1])
    for _ in range(10):
        recorded.append(blocked_call())
        console.journal.record(recorded[-1])
    in_kernel = {call.id for call in console.calls()}  # Nothing awaits in between: the backlog did not move.
    on_disk = {call.id for call in console.spooled()}
    assert len(on_disk) == 11
    assert recorded[-11].id not in in_kernel
    assert {call.id for call in recorded} == in_kernel | on_disk


async def test_console_that_does_not_acknowledge_gets_no_more_than_the_window(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 5000)
    calls = [blocked_call() for _ in range(50)]
    for call in calls:
        console.journal.record(call)
    batches = console.batches()
    sent = [call for batch in batches for call in batch.calls]
    assert len(sent) < 20
    assert sent + console.spooled() == calls
    for batch in batches:
        console.journal.acknowledge(batch.sequence)
    await console.journal.settled()
    call = blocked_call()
    console.journal.record(call)
    assert console.calls() == [call]


async def test_plain_calls_are_dropped_oldest_first_and_counted(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 1)
    monkeypatch.setattr(journal_module, "MAX_WAITING_BYTES", 5000)
    first = blocked_call()
    console.journal.record(first)
    [batch] = console.batches()
    calls = [plain_call() for _ in range(100)]
    for call in calls:
        console.journal.record(call)
    urgent = blocked_call()
    console.journal.record(urgent)
    assert console.spooled() == [urgent]
    console.journal.acknowledge(batch.sequence)
    kept = console.calls()
    assert 0 < len(kept) < 100
    assert kept == calls[-len(kept) :]
    assert console.dropped == 100 - len(kept)


async def test_failing_disk_keeps_findings_in_memory_within_a_bound(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 1)
    monkeypatch.setattr(journal_module, "MAX_WAITING_BYTES", 5000)
    console.journal._spool = SpoolFile(console.directory / "missing")
    console.journal.record(blocked_call())
    [batch] = console.batches()
    calls = [blocked_call() for _ in range(50)]
    for call in calls:
        console.journal.record(call)
    assert "cannot be spooled" in caplog.text
    assert console.journal._urgent.size <= 5000
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 1 << 20)
    console.journal.acknowledge(batch.sequence)
    kept = console.calls()
    assert kept == calls[-len(kept) :]
    assert console.dropped == 50 - len(kept)


async def test_call_of_absurd_size_is_recorded_shortened(console: Console) -> None:
    huge = tuple(msgspec.structs.replace(FINDING, path="/" + "k" * 100_000) for _ in range(200))
    console.journal.record(blocked_call(findings=huge))
    [call] = console.calls()
    assert len(call.findings) == journal_module.MAX_FINDINGS_OF_LARGE_CALL
    assert all(len(finding.path) <= journal_module.MAX_PATH_OF_LARGE_CALL for finding in call.findings)
    assert "unacknowledged=1" in repr(console.journal)


async def test_texts_travel_with_their_call(console: Console) -> None:
    call = blocked_call(texts=TEXTS, texts_omitted=2)
    console.journal.record(call)
    assert console.calls() == [call]


async def test_texts_never_go_to_disk(console: Console) -> None:
    sent, waiting = blocked_call(texts=TEXTS), plain_call(texts=TEXTS)
    console.journal.record(sent)
    console.journal.record(waiting)
    console.journal.close()
    assert {call.id for call in console.spooled()} == {sent.id, waiting.id}
    assert all(call.texts == () for call in console.spooled())


async def test_texts_are_not_taken_while_much_waits_and_that_is_counted(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_TEXTS_BYTES", 2000)
    calls = [blocked_call(texts=TEXTS) for _ in range(10)]
    for call in calls:
        console.journal.record(call)
    batches = console.batches()
    arrived = [call for batch in batches for call in batch.calls]
    assert [call.id for call in arrived] == [call.id for call in calls]
    assert 0 < sum(bool(call.texts) for call in arrived) < 10
    for batch in batches:
        console.journal.acknowledge(batch.sequence)
    last = blocked_call(texts=TEXTS)
    console.journal.record(last)
    arrived += console.calls()
    assert arrived[-1] == last
    assert console.texts_dropped == sum(not call.texts for call in arrived)


async def test_texts_make_room_before_any_call_is_dropped(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 1)
    monkeypatch.setattr(journal_module, "MAX_WAITING_BYTES", 12_000)
    console.journal.record(blocked_call())
    [batch] = console.batches()
    calls = [plain_call(texts=TEXTS) for _ in range(14)]
    for call in calls:
        console.journal.record(call)
    monkeypatch.setattr(journal_module, "MAX_SENT_BYTES", 1 << 20)
    console.journal.acknowledge(batch.sequence)
    console.journal.flush()
    arrived = console.calls()
    assert [call.id for call in arrived] == [call.id for call in calls]
    assert console.dropped == 0
    assert 0 < console.texts_dropped == sum(not call.texts for call in arrived)
