"""What the API and the pages say about scans."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Threshold = Literal["", "low", "medium", "high", "critical"]


class StartScanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scan of a proxy's server, or of a URL. Active probes need the target's name once more."""

    proxy_id: Annotated[str, Meta(max_length=64)] = ""
    target_url: Annotated[str, Meta(max_length=4_000)] = ""
    policy: Annotated[str, Meta(max_length=100)] = ""
    active: bool = False
    confirmation: Annotated[str, Meta(max_length=4_000)] = ""


class ScanView(msgspec.Struct, frozen=True, kw_only=True):
    """One scan: how far it is, and what it came to."""

    id: str
    scan_id: str
    proxy_id: str
    name: str
    target: str
    policy: str
    active: bool
    state: str
    progress: int
    """Percent."""
    stage: str
    error: str
    overall_risk: str
    risk_score: int
    passed: bool
    counts: dict[str, int]
    started_at: datetime
    finished_at: datetime | None
    started_by: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the scan of the same target before."""

    scan_id: str
    started_at: datetime
    new: list[str]
    """Ids of findings that were not there."""
    gone: list[str]
    """Titles of findings that are not there any more."""
    same: int
    risk_score: int


class BlockedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the last scan found too bad."""

    name: str
    severity: str
    lifted: bool


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """Which tools of a proxy are refused because of its last scan."""

    proxy_id: str
    severity: str
    """From which severity on; empty for never."""
    scan_id: str
    tools: list[BlockedTool]
    changed_at: datetime | None
    changed_by: str


class SetGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refuse tools with a finding of this severity or worse; empty for none."""

    severity: Threshold


class LiftTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a tool pass although the gate refuses it, or take that back."""

    tool: Annotated[str, Meta(max_length=4_096)]
    lifted: bool = True
