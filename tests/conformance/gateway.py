"""The gateway that the suite is run against: the shipped rules, and every tool approved except for those that are named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from proxies.contract import MCPControl, MCPSettings
from tests.conformance.approval import Approval
from tests.mcp_control import ControlConsole
from tests.proxy_harness import running_proxy


@asynccontextmanager
async def running_gateway(target_url: str, *, unapproved: Collection[str] = ()) -> AsyncIterator[str]:
    """A proxy with tools under control; yields the address of its endpoint."""
    console = ControlConsole(judge=Approval(except_for=unapproved))
    async with running_proxy(
        type="mcp", target_url=target_url, console=console.take, mcp=MCPSettings(control=MCPControl())
    ) as proxy:
        console.attach(proxy)
        yield f"{proxy.url}/mcp"
