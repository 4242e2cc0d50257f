"""The upstreams of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from proxies.contract import Limits
from proxies.mcp.upstreams.seats import SeatBounds
from tests.unit.proxies.mcp.upstreams.channel_bench import Bench, quiet
from tests.unit.proxies.mcp.upstreams.scripted_channel import Script


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def build(
        script: Script = quiet,
        *,
        ours: bool = True,
        bounds: SeatBounds | None = None,
        process: str = "session",
        **limits: float,
    ) -> Bench:
        bounds = bounds or SeatBounds(max_open=8, max_open_per_principal=8)
        benches.append(Bench(script, Limits(**limits), bounds, ours=ours, process=process))  # type: ignore[arg-type]
        return benches[-1]

    yield build
    for bench in benches:
        await bench.upstream.aclose()
