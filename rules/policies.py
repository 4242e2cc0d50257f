"""The shipped policies: named sets of packs (`policies.json` beside this file)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

POLICIES_FILE = Path(__file__).parent / "policies.json"


class PolicyTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as it is shipped: which packs, for which type of proxy, and whether it blocks or only watches."""

    name: Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    title: str
    description: str
    type: Literal["llm", "mcp", "both"]
    packs: Annotated[tuple[str, ...], Meta(min_length=1)]
    enforcement: Literal["enforce", "log_only"] = "enforce"


def load_policies() -> dict[str, PolicyTemplate]:
    """The shipped policies by name; raises msgspec.ValidationError for a damaged file."""
    policies = msgspec.json.decode(POLICIES_FILE.read_bytes(), type=list[PolicyTemplate])
    return {policy.name: policy for policy in policies}
