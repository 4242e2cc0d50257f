"""Where `scripts/peers` has put the tools that are no part of the repository: Node and packages of npm and PyPI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("OSTIARY_TOOLS", ROOT / ".tools"))
NODE = TOOLS / "node" / "bin" / "node"
PACKAGES = TOOLS / "npm" / "node_modules"
SUITE = PACKAGES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def python_of(environment: str) -> Path:
    """The interpreter of one of the Python environments."""
    return TOOLS / environment / "bin" / "python"


def need(path: Path) -> None:
    """Skip the test where a tool is not installed; fail instead where the environment says that it must be."""
    if path.exists():
        return
    reason = f"{path.name} is not installed: scripts/peers"
    if os.environ.get("OSTIARY_PEERS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
