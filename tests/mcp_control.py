"""A console for tests of tools under control: it keeps what a worker observed and approves what the test says.

console = ControlConsole()
async with running_proxy(..., console=console.take, mcp=MCPSettings(control=MCPControl())) as proxy:
    console.attach(proxy)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from proxies.contract import (
    EntryRule,
    HeldCall,
    HoldEnded,
    MCPControl,
    MCPSettings,
    Observation,
    Observed,
    ObservedEntry,
)
from rules.pinning.canonical import hash_json, sha256
from tests.proxy_harness import RunningProxy

Judge = Callable[[Observation], MCPControl | None]
"""The control that an observation leads to; None for a console that does not answer."""


def accepting(*documents: dict[str, Any], kind: str = "tools", **rule: Any) -> MCPControl:
    """A control that accepts these declarations."""
    rules = {one["name"]: EntryRule(accepted=(hash_json(one),), **rule) for one in documents}
    return MCPControl(**{kind: rules})


def accept_all(observation: Observation) -> MCPControl:
    """Everything that was observed is approved, with the instructions."""
    by_kind: dict[str, dict[str, EntryRule]] = {"tool": {}, "prompt": {}, "template": {}}
    for entry in observation.entries:
        by_kind.setdefault(entry.kind, {})[entry.name] = EntryRule(accepted=(entry.h_raw,))
    server = json.loads(observation.server) if observation.server else {}
    instructions = server.get("instructions")
    return MCPControl(
        tools=by_kind["tool"],
        prompts=by_kind["prompt"],
        templates=by_kind["template"],
        instructions=(sha256(instructions.encode()),) if instructions else (),
    )


class ControlConsole:
    """Takes the place of the console."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.judge = judge
        self.observations: list[Observation] = []
        self.held: list[HeldCall] = []
        self.ended: list[HoldEnded] = []
        self._proxy: RunningProxy | None = None
        self._arrived = asyncio.Condition()

    def attach(self, proxy: RunningProxy) -> None:
        """The proxy whose snapshots this console publishes."""
        self._proxy = proxy

    def take(self, message: Observed | HeldCall | HoldEnded) -> None:
        """What the worker puts on the channel."""
        if isinstance(message, HeldCall):
            self.held.append(message)
        elif isinstance(message, HoldEnded):
            self.ended.append(message)
        else:
            self.observations.append(message.observation)
            if self.judge is not None and not message.observation.failure:
                asyncio.get_running_loop().call_soon(self._answer, message.observation)
        asyncio.get_running_loop().create_task(self._notify())

    def publish(self, control: MCPControl | None) -> None:
        """A snapshot with this control comes into force."""
        assert self._proxy is not None
        runtime = self._proxy.runtime
        settings = msgspec.structs.replace(runtime.config.mcp or MCPSettings(), control=control)
        config = msgspec.structs.replace(runtime.config, mcp=settings)
        self._proxy.swap(msgspec.structs.replace(runtime, config=config, snapshot_version=runtime.snapshot_version + 1))

    def names(self, index: int = -1) -> list[str]:
        """The names in an observation, in its order."""
        return [entry.name for entry in self.observations[index].entries]

    def entries(self, kind: str, index: int = -1) -> list[ObservedEntry]:
        """The entries of a kind in an observation."""
        return [entry for entry in self.observations[index].entries if entry.kind == kind]

    async def wait_for(self, what: Callable[[], object], timeout_seconds: float = 10) -> None:
        """Return when it holds; asked again after each message of the worker."""
        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(lambda: bool(what()))

    def _answer(self, observation: Observation) -> None:
        assert self.judge is not None
        assert self._proxy is not None
        control = self.judge(observation)
        if control is not None:
            self.publish(control)
            self._proxy.judgements.judged(observation.id)

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()


def tool(name: str, description: str = "A tool.", **members: Any) -> dict[str, Any]:
    """A tool as a server declares it."""
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **members}


def named(listed: Iterable[Any]) -> list[str]:
    """The names of listed entries."""
    return [one["name"] if isinstance(one, dict) else one.name for one in listed]
