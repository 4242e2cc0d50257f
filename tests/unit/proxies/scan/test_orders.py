"""Scans in a worker: a few at a time, cancelled, failed, and never more than their own."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from proxies.contract import CancelScan, ScanFinished, ScanProgress, ScanTarget, StartScan, StdioServer
from proxies.scan import orders
from proxies.scan.active import harmless, may_call
from proxies.scan.listing import portable
from proxies.scan.orders import Scans
from tests.support.hostile import STDIO

SLEEPER = ScanTarget(
    transport="stdio", stdio=StdioServer((sys.executable, "-c", "import sys; [print(end='') for _ in sys.stdin]"))
)


class Said:
    """What the worker tells the console."""

    def __init__(self) -> None:
        self.messages: list[ScanProgress | ScanFinished] = []
        self.finished = asyncio.Event()

    def __call__(self, message: ScanProgress | ScanFinished) -> None:
        self.messages.append(message)
        if isinstance(message, ScanFinished):
            self.finished.set()

    async def end(self) -> ScanFinished:
        async with asyncio.timeout(40):
            await self.finished.wait()
        found = self.messages[-1]
        assert isinstance(found, ScanFinished)
        return found


async def test_a_scan_tells_its_progress_and_its_facts() -> None:
    said = Said()
    scans = Scans(said)
    scans.obey(StartScan("one", ScanTarget(transport="stdio", stdio=StdioServer(STDIO))))
    end = await said.end()
    assert end.facts is not None
    assert len(end.facts.description.tools) == 9
    percents = [message.percent for message in said.messages if isinstance(message, ScanProgress)]
    assert percents == sorted(percents)
    await scans.stop()


async def test_more_than_a_few_are_refused_and_cancelled_ones_are_silent() -> None:
    said = Said()
    scans = Scans(said)
    scans.obey(StartScan("one", SLEEPER))
    scans.obey(StartScan("two", SLEEPER))
    scans.obey(StartScan("three", SLEEPER))
    end = await said.end()
    assert (end.id, "running already" in end.failure) == ("three", True)
    scans.obey(CancelScan("one"))
    scans.obey(CancelScan("unknown"))
    await scans.stop()
    assert [message.id for message in said.messages if isinstance(message, ScanFinished)] == ["three"]


async def test_a_mistake_stays_with_its_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(orders, "gather", broken)
    said = Said()
    scans = Scans(said)
    scans.obey(StartScan("one", SLEEPER))
    end = await said.end()
    assert end.facts is None
    assert "mistake" not in end.failure
    await scans.stop()


@pytest.mark.parametrize(
    ("tool", "called"),
    [
        ({"name": "get_weather", "description": "Says what the weather is like."}, True),
        ({"name": "read_file", "description": "Reads a file."}, True),
        ({"name": "delete_note", "description": "Deletes a note."}, False),
        ({"name": "calculate", "description": "Runs a shell command."}, False),
        ({"name": "pay_invoice"}, False),
        ({"name": "sendMail", "description": "Sends an email to a recipient."}, False),
        ({"name": "lookup", "annotations": {"destructiveHint": True}}, False),
        ({"name": "lookup", "annotations": {"readOnlyHint": False}}, False),
        ({"name": 5}, False),
    ],
)
def test_active_probes_leave_out_what_could_do_harm(tool: dict[str, Any], called: bool) -> None:
    assert may_call(tool) is called


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "test"),
        ({"type": "string", "format": "uri"}, "https://example.com/"),
        ({"type": ["integer", "null"], "minimum": 5}, 5),
        ({"type": "boolean"}, False),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 3}, 3),
        ({"type": "array"}, []),
        ({"type": "array", "minItems": 1, "items": {"type": "number"}}, [1]),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": "test"}),
        ({"type": "object"}, {}),
        (True, "test"),
    ],
)
def test_plain_arguments_fit_their_schema(schema: Any, value: Any) -> None:
    assert harmless(schema) == value


def test_numbers_that_the_channel_cannot_carry_become_texts() -> None:
    assert portable({"a": [2**70, -(2**70), 2**62, "x", True]}) == {"a": [str(2**70), str(-(2**70)), 2**62, "x", True]}
