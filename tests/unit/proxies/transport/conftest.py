"""The transport has to work on both event loops: uvloop where it exists, asyncio's own on Windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test of this folder runs twice."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
