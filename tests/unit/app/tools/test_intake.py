"""What workers say about tools waits in bounded queues, and nobody who asked is forgotten."""

from __future__ import annotations

import asyncio

from app.tools.intake import MAX_WAITING_OF_PROXY, ToolIntake
from proxies.contract import Judged, Observation, Observed
from tests.support.declarations import observation, tool


class Rolls:
    async def roll_out(self) -> None:
        """Nobody to tell."""


async def test_an_observation_that_gives_way_is_answered_when_a_newer_one_is_judged() -> None:
    may_judge = asyncio.Event()
    judged: list[str] = []
    told: list[str] = []
    settled: list[str] = []

    async def judge(seen: Observation) -> bool:
        await may_judge.wait()
        judged.append(seen.id)
        return False

    async def order(_proxy_id: str, message: object) -> bool:
        assert isinstance(message, Judged)
        told.append(message.id)
        return True

    async def on_hold(_report: object) -> None:
        raise AssertionError

    intake = ToolIntake(
        judge=judge, rollout=Rolls(), order=order, on_judged=lambda seen: settled.append(seen.id), on_hold=on_hold
    )
    ids = [f"obs_{number}" for number in range(MAX_WAITING_OF_PROXY + 3)]
    for one in ids:
        intake.on_report(Observed(observation("prx_1", (tool("read"),), id=one)))
    may_judge.set()
    await intake.idle()

    dropped = [one for one in ids if one not in judged]
    assert len(dropped) == intake.dropped == 3
    assert sorted(told) == sorted(ids), "the workers wait for each"
    assert sorted(settled) == sorted(ids), "and so may whoever asked for it"
    assert told.index(dropped[-1]) > told.index(judged[0])
