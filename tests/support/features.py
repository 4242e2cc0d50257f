"""The features of the console on a real database file, in the test's own loop and without the web server."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.audit.service import AuditLog
from app.database.engine import Database, database_path
from app.features import Features, build_features
from app.fleet.schemas import CreateProxy, ProxyView
from app.http.events import BusEvent, EventBus, Subscription
from app.paths import DataDirectory
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor, Role
from app.security.vault import Vault
from app.settings import Settings
from app.startup import prepare
from app.system.metrics import Metrics
from tests.support.library import small_library
from tests.support.made_once import made_once
from tests.support.memory_fleet import MemoryFleet

ADMIN = Actor(user_id="usr_1", username="admin", role=Role.ADMIN, via="token", ip="127.0.0.1", credential="0" * 64)


class Bench:
    """Services, their database and bus, and the fleet in memory."""

    def __init__(self, features: Features, database: Database, bus: EventBus, settings: Settings) -> None:
        self.features = features
        self.database = database
        self.bus = bus
        self.settings = settings

    @property
    def fleet(self) -> MemoryFleet:
        """The fleet in memory."""
        assert isinstance(self.features.fleet, MemoryFleet)
        return self.features.fleet

    async def proxy(self, name: str = "OpenAI", port: int = 4000, **changes: object) -> ProxyView:
        """A new proxy."""
        wanted = {"name": name, "type": "llm", "target_url": "https://api.example.org", "port": port, **changes}
        return await self.features.proxies.create(ADMIN, CreateProxy(**wanted))  # type: ignore[arg-type]


@asynccontextmanager
async def features_on(
    directory: Path, data_from: Path, *, library: PolicyLibrary | None = None, **changes: Any
) -> AsyncIterator[Bench]:
    """Features on a copy of a data directory."""
    shutil.copytree(data_from, directory / "data")
    settings = Settings(data_dir=directory / "data", **changes)
    data = DataDirectory(settings.data_dir)
    _, keys = prepare(settings)
    with made_once():
        database, bus = Database(database_path(settings, data)), EventBus()
    features = build_features(
        settings=settings,
        directory=data,
        database=database,
        vault=Vault(keys.vault),
        audit=AuditLog(keys.audit),
        bus=bus,
        metrics=Metrics(),
        library=library or small_library(),
        make_fleet=MemoryFleet,
    )
    await database.open()
    for part in features.parts:
        await part.start()
    try:
        yield Bench(features, database, bus, settings)
    finally:
        for part in reversed(features.parts):
            await part.stop()
        await database.close()


async def drain(subscription: Subscription) -> list[BusEvent]:
    """Every event that is queued now."""
    events = []
    while (event := await subscription.next(0.05)) is not None:
        events.append(event)
    return events
