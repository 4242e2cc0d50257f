"""The transport has to work on both event loops: uvloop where it exists, asyncio's own on Windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test of this folder runs twice, but for the long tables of the guard's decisions: those are
    made by pure functions, which no loop can change."""
    factories = {"uvloop": uvloop.new_event_loop}
    if item.path.name not in ("test_request_framing.py", "test_request_heads.py"):
        factories["asyncio"] = asyncio.new_event_loop
    return factories
