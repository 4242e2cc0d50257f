"""Where a proxy listens, and on how many workers. Pure."""

from __future__ import annotations

from app.fleet.reconcile import Address, Binding
from proxies.contract import ProxyConfig


def binding_of(proxy: ProxyConfig) -> Binding:
    """The binding of a proxy."""
    return Binding(proxy.id, Address(proxy.host, proxy.port))


def is_single(proxy: ProxyConfig) -> bool:
    """Whether one worker alone serves the proxy: a legacy MCP session lives in the memory of the worker that opened it."""
    return proxy.type == "mcp"
