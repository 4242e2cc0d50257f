"""What fails, is survived and goes on is in the log with a remedy, and is counted where people look without reading it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar import Litestar
from litestar.datastructures import State
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.audit.service import AuditLog
from app.background import Background
from app.database.unit_of_work import after_commit, run_after_commit
from app.fleet.announcer import ProxyAnnouncer
from app.fleet.failures import ProxyFailures
from app.fleet.intake import Intake
from app.fleet.slot import Slot
from app.fleet.state import ProxyState, ProxyStatus
from app.fleet.supervisor import Configuration, Fleet
from app.fleet.worker import Worker
from app.http.events import EventBus
from app.lifespan import Part, lifespan
from app.logs import CONTINUED
from app.mcp_server import protocol
from app.policies.trial_schemas import StartReplay
from app.scanner.schemas import StartScanRequest
from app.settings import Settings
from app.system.logged_errors import LoggedErrors
from app.tools.intake import ToolIntake
from proxies.contract import CallRecord, Events, HoldEnded, Observation, Observed, ScanFinished
from tests.support.console import Console
from tests.support.declarations import observation, tool
from tests.support.features import ADMIN, Bench
from tests.support.records import call
from tests.unit.rules.scanning.test_checks import facts


class Counted:
    """The count as a scrape shows it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.errors = LoggedErrors(self.registry)

    def of(self, logger: str) -> float:
        """How many errors a module has said."""
        return self.registry.get_sample_value("ostiary_errors_logged_total", {"logger": logger}) or 0


@pytest.fixture
async def counted() -> AsyncIterator[Counted]:
    made = Counted()
    await made.errors.start()
    yield made
    await made.errors.stop()


class Broken(Exception):
    """Nobody foresaw it."""


async def break_down(*_args: object, **_more: object) -> Any:
    raise Broken


def test_what_is_counted_are_errors_by_module_and_no_line_twice() -> None:
    counted = Counted()
    for name, level, extra in (
        ("app.fleet.worker", logging.ERROR, {}),
        ("app.fleet.worker", logging.WARNING, {}),
        ("ostiary.worker", logging.ERROR, {CONTINUED: False}),
        ("ostiary.worker", logging.ERROR, {CONTINUED: True}),
        ("uvicorn.error", logging.CRITICAL, {}),
    ):
        record = logging.getLogger(name).makeRecord(name, level, "", 0, "said", (), None, extra=extra)
        if record.levelno >= counted.errors.level:
            counted.errors.handle(record)
    assert [counted.of(name) for name in ("app.fleet.worker", "ostiary.worker", "other")] == [1, 1, 1]
    assert counted.errors.total == 3


async def test_the_count_is_in_the_metrics_the_api_and_the_settings(console: Console) -> None:
    def draw(*_args: object) -> Any:
        raise Broken

    console.app.state.render_error = draw
    assert (await console.client.get("/nowhere")).status_code == 404
    scrape = (await console.client.get("/metrics", headers=console.admin)).text
    assert 'ostiary_errors_logged_total{logger="app.http.problem"} 1.0' in scrape
    info = await console.client.get("/api/v1/system/info", headers=console.admin)
    assert info.json()["data"]["errors_logged"] == 1
    page = await console.client.get("/settings", headers=console.admin)
    assert "1 since the start" in page.text


async def test_a_step_after_a_commit(counted: Counted) -> None:
    seen: list[str] = []
    session = cast(AsyncSession, SimpleNamespace(info={}))
    after_commit(session, break_down)
    after_commit(session, lambda: seen.append("the next step"))
    await run_after_commit(session)
    assert seen == ["the next step"]
    assert counted.of("app.database.unit_of_work") == 1


async def test_the_announcer_of_proxies(counted: Counted, bench: Bench) -> None:
    proxy = await bench.proxy()
    bus = EventBus()
    subscription = bus.subscribe(["proxy"])
    broken = True
    asked = asyncio.Event()

    def status_of(proxy_id: str) -> ProxyStatus:
        asked.set()
        if broken:
            raise Broken
        return bench.fleet.status(proxy_id)

    announcer = ProxyAnnouncer(database=bench.database, library=bench.features.library, bus=bus, status_of=status_of)
    await announcer.start()
    announcer.announce(proxy.id)
    async with asyncio.timeout(10):
        await asked.wait()
    broken = False
    announcer.announce(proxy.id)
    event = await subscription.next(10)
    await announcer.stop()
    assert event is not None
    assert event.data["id"] == proxy.id
    assert counted.of("app.fleet.announcer") == 1


async def test_a_failure_that_could_not_be_recorded_is_recorded_at_its_next_report(
    counted: Counted, bench: Bench
) -> None:
    class Once(AuditLog):
        broken = True

        async def record(self, *args: Any, **more: Any) -> Any:
            if self.broken:
                self.broken = False
                raise Broken
            return await super().record(*args, **more)

    proxy = await bench.proxy()
    failed = ProxyStatus(proxy.id, ProxyState.FAILED, "The port is taken.", clock.utcnow(), 0, 1, 1)
    subscription = bench.bus.subscribe(["alert"])
    failures = ProxyFailures(database=bench.database, audit=Once(b"k" * 32), bus=bench.bus)
    await failures.start()
    failures.on_status(failed)
    await failures._waiting.join()
    assert counted.of("app.fleet.failures") == 1
    failures.on_status(failed)
    await failures.stop()
    event = await subscription.next(10)
    assert event is not None
    assert event.data["rule_id"] == "GATEWAY-PROXY"


async def test_calls_that_cannot_be_committed_are_not_acknowledged(counted: Counted, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    again = asyncio.Event()
    attempts = 0

    async def ingest(_calls: Sequence[CallRecord]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Broken

    class Worker:
        async def acknowledge(self, sequence: int) -> None:
            acknowledged.append(sequence)
            again.set()

    intake = Intake(ingest, tmp_path)
    intake.put(Worker(), Events(sequence=7, calls=(call(),)))
    task = asyncio.create_task(intake.run())
    async with asyncio.timeout(10):
        await again.wait()
    task.cancel()
    assert (attempts, acknowledged, counted.of("app.fleet.intake")) == (2, [7], 1)


async def test_spooled_calls_that_cannot_be_ingested(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fleet.spool.ingest_directory", break_down)
    assert await Intake(break_down, tmp_path).recover() == 0
    assert counted.of("app.fleet.intake") == 1


async def test_a_configuration_that_cannot_be_loaded(counted: Counted, tmp_path: Path) -> None:
    async def load() -> Configuration:
        raise Broken

    fleet = Fleet(
        settings=Settings(data_dir=tmp_path, drain_timeout_seconds=0),
        load_configuration=load,
        ingest=break_down,
        on_status=lambda _status: None,
        command=("/bin/cat",),
    )
    await fleet.start()
    await fleet.stop()
    assert fleet.statuses() == {}
    assert counted.of("app.fleet.supervisor") == 1


async def test_work_that_nobody_awaits(counted: Counted) -> None:
    background = Background("a test")
    background.spawn(break_down())
    await background.idle()
    assert counted.of("app.background") == 1
    held = background.spawn(asyncio.Event().wait())
    await background.stop()
    assert held.cancelled()
    assert counted.of("app.background") == 1


async def test_a_part_that_does_not_stop_cleanly(counted: Counted) -> None:
    stopped: list[str] = []

    async def start() -> None:
        """Nothing to start."""

    async def stop() -> None:
        stopped.append("the first")

    parts = [Part("first", start, stop), Part("second", start, break_down)]
    state = State({"parts": parts, "system": SimpleNamespace(is_ready=False)})
    async with lifespan(Litestar(openapi_config=None, logging_config=None, state=state)):
        pass
    assert (stopped, counted.of("app.lifespan")) == (["the first"], 1)


async def test_tools_that_cannot_be_judged_and_holds_that_cannot_be_noted(counted: Counted) -> None:
    told: list[str] = []
    rolls: list[str] = []

    async def order(_proxy_id: str, message: Any) -> bool:
        told.append(message.id)
        return True

    class Rollout:
        async def roll_out(self) -> None:
            rolls.append("out")

    def settled(_seen: Observation) -> None:
        """Nobody asked."""

    intake = ToolIntake(
        judge=break_down, rollout=cast(Any, Rollout()), order=order, on_judged=settled, on_hold=break_down
    )
    intake.on_report(Observed(observation("prx_1", (tool("read"),), id="obs_1")))
    intake.on_report(HoldEnded(id="hld_1", outcome="expired"))
    intake.on_report(HoldEnded(id="hld_2", outcome="expired"))
    await intake.idle()
    assert (told, rolls) == (["obs_1"], []), "the worker is told that it is over; nothing new passes"
    assert counted.of("app.tools.intake") == 3


async def test_a_replay_and_a_scan_say_that_they_failed(
    counted: Counted, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = bench.features.replays
    monkeypatch.setattr(replays, "_replay", break_down)
    await bench.proxy()
    begun = await replays.start(ADMIN, bench.features.library.policies()[0].name, StartReplay(source="published"))
    task = replays._replays[begun.id].task
    assert task is not None
    await task
    assert replays.get(ADMIN, begun.id).state == "failed"
    assert counted.of("app.policies.replays") == 1

    proxy = await bench.proxy("tools", 4100, type="mcp", target_url="https://mcp.example.org/mcp")
    scanner = bench.features.scanner
    monkeypatch.setattr(scanner, "_judge", break_down)
    scan = await scanner.begin(ADMIN, StartScanRequest(proxy_id=proxy.id))
    bench.fleet.report(ScanFinished(scan.id, facts()))
    await scanner.ended(scan.id)
    assert (await scanner.get(ADMIN, scan.id)).state == "failed"
    assert counted.of("app.scanner.service") == 1


async def test_a_request_of_the_mcp_server(counted: Counted) -> None:
    class Backend:
        check = scan = alerts = staticmethod(break_down)

    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_alerts", "arguments": {}}}
    answered = await protocol.answer(message, cast(Any, Backend()))
    assert answered is not None
    assert answered["error"]["code"] == protocol.INTERNAL_ERROR
    assert counted.of("app.mcp_server.protocol") == 1


async def test_the_log_of_a_worker_with_each_traceback_once(counted: Counted, tmp_path: Path) -> None:
    async def load() -> Configuration:
        return Configuration()

    said = "INFO proxies.worker: hello\\nERROR proxies.dispatch: it failed\\nTraceback\\n  a line\\nValueError: no\\n"
    fleet = Fleet(
        settings=Settings(data_dir=tmp_path, drain_timeout_seconds=0),
        load_configuration=load,
        ingest=break_down,
        on_status=lambda _status: None,
        command=("/bin/sh", "-c", f"printf '{said}' >&2; exec sleep 60", "worker"),
    )
    last_line = asyncio.Event()
    listener = logging.Handler()
    listener.emit = lambda record: last_line.set() if "ValueError" in record.getMessage() else None  # type: ignore[method-assign]
    logging.getLogger("ostiary.worker").addHandler(listener)
    await fleet.start()
    async with asyncio.timeout(10):
        await last_line.wait()
    await fleet.stop()
    logging.getLogger("ostiary.worker").removeHandler(listener)
    assert counted.of("ostiary.worker") == 1


async def test_a_worker_that_cannot_be_followed_is_replaced(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        pid, ready = 2**22 + 1, False

        def report(self) -> None:
            return None

    class Breaking(Odd):
        run = staticmethod(break_down)

    class Lasting(Odd):
        async def run(self) -> int:
            stopping.set()
            return 0

    workers: list[Odd] = [Breaking(), Lasting()]
    stopping = asyncio.Event()

    async def spawn(*_args: object, **_more: object) -> Any:
        return workers.pop(0)

    def nothing(*_args: object) -> None:
        """Nobody listens."""

    monkeypatch.setattr(Worker, "spawn", spawn)
    callbacks = dict.fromkeys(("on_change", "on_events", "on_scan", "on_tools", "on_buried"), nothing)
    slot = Slot(0, ("true",), tmp_path, **callbacks)
    async with asyncio.timeout(20):
        await slot.keep(stopping)
    assert (workers, slot.deaths) == ([], 1)
    assert counted.of("app.fleet.slot") == 2
