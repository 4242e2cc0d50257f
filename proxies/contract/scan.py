"""What console and workers say to each other about scans of MCP servers (SYP-SCAN-1): the worker asks, the console judges."""

from __future__ import annotations

import msgspec

from proxies.contract.configuration import UpstreamAuth, UpstreamProxy
from proxies.contract.mcp import MCPTransport, StdioServer
from rules.scanning.facts import ServerFacts

SCAN_DEADLINE_SECONDS = 180.0
MAX_SCANS = 2
"""Scans that one worker runs at the same time."""


class ScanTarget(msgspec.Struct, frozen=True):
    """How the server is reached; everything is resolved. Secrets in it exist in memory only."""

    target_url: str = ""
    transport: MCPTransport = "http"
    stdio: StdioServer | None = None
    upstream_auth: UpstreamAuth = UpstreamAuth()
    ca_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    upstream_proxy: UpstreamProxy | None = None


class StartScan(msgspec.Struct, tag="start_scan", frozen=True):
    """Console to worker: gather the facts. Answered by `ScanProgress`, now and then, and by one `ScanFinished`."""

    id: str
    target: ScanTarget
    active: bool = False
    """Whether somebody has confirmed active probes for this scan."""


class CancelScan(msgspec.Struct, tag="cancel_scan", frozen=True):
    """Console to worker: nobody waits for this scan any more. Not answered."""

    id: str


class ScanProgress(msgspec.Struct, tag="scan_progress", frozen=True):
    """Worker to console: how far a scan is."""

    id: str
    percent: int
    stage: str


class ScanFinished(msgspec.Struct, tag="scan_finished", frozen=True):
    """Worker to console: the facts, or why there are none."""

    id: str
    facts: ServerFacts | None = None
    failure: str = ""
