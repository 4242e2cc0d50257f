"""Hooks for the whole suite."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

# Compiling the shipped packs takes seconds of CPU. Every console and worker that the tests start shares one cache, as
# several installations of one person may; what is in it is checked by content hash, owner and mode.
RULESET_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "rulesets"
os.environ.setdefault("OSTIARY_CACHE_DIR", str(RULESET_CACHE))

# Hypothesis asserts by default how long an example and its making take, which on a busy machine says nothing.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after the first password change, to be copied: a first start takes half a second longer."""
    from tests.support.console import used_data_directory

    return asyncio.run(used_data_directory(tmp_path_factory.mktemp("used")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, files are what is handed out; the marks of xdist's own `loadgroup` have no effect under this pytest."""
    from tests.support.scheduling import Files

    return Files(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a compiled tree a test that replaces a part of the hot path would replace nothing."""
    found = find_spec("rules.engine")
    if found is not None and (found.origin or "").endswith(".so"):
        replacing = [item for item in items if item.get_closest_marker("interpreted")]
        config.hook.pytest_deselected(items=replacing)
        items[:] = [item for item in items if not item.get_closest_marker("interpreted")]


def pytest_collection_finish() -> None:
    """What was imported and collected stays: without this the garbage collector goes through all of it again and again."""
    gc.collect()
    gc.freeze()
