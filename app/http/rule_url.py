"""Where a rule is explained: most stand in a pack, some elsewhere."""

from __future__ import annotations

from urllib.parse import quote

from rules.canaries import PACK as CANARY
from rules.policy import OWN_PACK_PREFIX
from rules.traffic import PACK as TRAFFIC_ANALYSIS

WITHOUT_PAGE = frozenset(
    {
        TRAFFIC_ANALYSIS,
        "gateway",
        "context-firewall",
        "decision-service",
        "mcp-scanner",
        "mcp-tool-control",
        "mcp-tool-filtering",
    }
)
"""Packs of the gateway itself."""


def comes_by_policy(pack: str) -> bool:
    """Whether findings of this pack are there because a policy asks for them."""
    return pack != CANARY and pack not in WITHOUT_PAGE


def rule_url(pack: str, rule_id: str) -> str:
    """The page that explains a rule of a finding."""
    if pack == CANARY:
        return "/canaries"
    if pack in WITHOUT_PAGE:
        # Nothing more is known of such a rule than what it has raised.
        return f"/alerts?rule_id={quote(rule_id, safe='')}"
    if pack.startswith(OWN_PACK_PREFIX):
        return f"/policies/{quote(pack.removeprefix(OWN_PACK_PREFIX), safe='')}"
    return f"/packs/{quote(pack, safe='')}/{quote(rule_id, safe='')}"
