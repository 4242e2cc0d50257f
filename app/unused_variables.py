"""Environment variables of other gateways that say nothing here: whoever brings them along is told, with what does it instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNUSED: Final[Mapping[str, str]] = {
    "CACHE_": "nothing is cached that could be out of date",
    "DB_CONN_MAX_LIFETIME": "the database is a file of this process",
    "DB_LOG_LEVEL": "LOG_LEVEL is for everything",
    "DB_MAX_IDLE_CONNS": "the database is a file of this process",
    "DB_MAX_OPEN_CONNS": "the database is a file of this process",
    "DB_MAX_PAYLOAD_SIZE": "captured texts are kept up to 16 KiB each way",
    "DB_QUERY_TIMEOUT": "the database is a file of this process",
    "GC_": "it belongs to another run time",
    "GOGC": "it belongs to another run time",
    "HTTP_CLIENT_POOL_DEFAULT_TIMEOUT": "REQUEST_HANDLER_TIMEOUT is for the whole call",
    "HTTP_CLIENT_POOL_DISABLE_": "connections are kept, and nothing is compressed anew",
    "HTTP_CLIENT_POOL_EXPECT_CONTINUE": "the gateway never asks before it sends",
    "HTTP_CLIENT_POOL_EXPECT_CONTINUE_TIMEOUT": "the gateway never asks before it sends",
    "HTTP_CLIENT_POOL_MAX_IDLE_CONNS": "HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST bounds them",
    "HTTP_CLIENT_POOL_MAX_IDLE_CONNS_PER_HOST": "HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST bounds them",
    "HTTP_CLIENT_POOL_PER_HOST": "HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST bounds them",
    "MCP_TOOL_SCAN_": "each proxy has its interval; five servers are listed at a time",
    "MEMORY_POOL_": "it belongs to another run time",
    "METRICS_UPDATE_INTERVAL_SECONDS": "metrics are those of the moment",
    "POLICY_VALIDATION_TIMEOUT": "the size and the cost of a policy are bounded",
    "RATE_LIMIT_": "policies have rate limits",
    "WEBSOCKET_": "the pages are live over server-sent events",
}
"""What a name is or begins with (`_` at its end), and why it has no effect."""


def unused(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of this environment that have no effect, with the reason."""
    found = {}
    for variable, value in sorted(environ.items()):
        for name, reason in UNUSED.items():
            if value and (variable == name or (variable.startswith(name) and name.endswith("_"))):
                found[variable] = reason
    return found
