"""Which detection rules read what a server declares: those of the chosen policy, and those that every scan needs."""

from __future__ import annotations

import msgspec

from app.policies.library import PolicyLibrary
from rules.policy import Policy
from rules.scanning import METADATA_PACKS, RESPONSE_PACKS

DEFAULT_POLICY = "mcp-advanced-security"


def scan_policy(library: PolicyLibrary, name: str) -> Policy:
    """The policy with the packs of a scan; raises PolicyNotFound."""
    policy = library.get(name)
    needed = {pack for pack in (*METADATA_PACKS, *RESPONSE_PACKS) if pack in library.shared_packs}
    return msgspec.structs.replace(policy, packs=tuple(sorted({*policy.packs, *needed})))


def default_policy(library: PolicyLibrary) -> str:
    """The policy of a scan that names none."""
    known = [policy.name for policy in library.policies(type_="mcp") if policy.active]
    return DEFAULT_POLICY if DEFAULT_POLICY in known else (library.defaults("mcp") or known or [DEFAULT_POLICY])[0]
