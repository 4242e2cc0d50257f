"""LIM-15: a stalled event loop does not go unseen."""

from __future__ import annotations

import asyncio
import time

from proxies import loop_lag
from proxies.loop_lag import LoopLag


async def test_LIM_15_a_stall_is_measured_once() -> None:
    lag = LoopLag()
    await asyncio.sleep(0)
    time.sleep(0.3)  # What a callback that computes for too long does to everybody else.
    while "<LoopLag 0.0 ms>" in repr(lag):
        await asyncio.sleep(loop_lag.TICK_SECONDS / 2)
    assert lag.take_ms() >= 200
    assert repr(lag) == "<LoopLag 0.0 ms>", "the stall belongs to one heartbeat"
    lag.stop()


async def test_LIM_15_a_stall_is_told_apart_from_a_busy_machine() -> None:
    lag = LoopLag()
    await asyncio.sleep(0)
    time.sleep(0.3)  # As if the machine had been busy with something else.
    await asyncio.sleep(3 * loop_lag.TICK_SECONDS)
    assert lag.take_ms() >= 200
    assert lag.busiest_ms < 200
    computing_until = time.thread_time() + 0.3
    while time.thread_time() < computing_until:
        pass
    await asyncio.sleep(3 * loop_lag.TICK_SECONDS)
    assert lag.busiest_ms >= 200
    lag.stop()


async def test_LIM_15_a_stopped_watch_measures_nothing() -> None:
    lag = LoopLag()
    lag.stop()
    time.sleep(2 * loop_lag.TICK_SECONDS)
    await asyncio.sleep(2 * loop_lag.TICK_SECONDS)
    assert lag.take_ms() == 0.0
