"""Compiles the rules that most tests need, before any of them waits for it: `python -m tests.compiled_rules`.

Without it the first tests of a fresh clone would share the processor with the compiler and meet their time limits.
"""

from __future__ import annotations

import os
from pathlib import Path

import tests.conftest  # noqa: F401 - It names the cache that all tests share.
from app.tools.findings import PACKS as DECLARATION_PACKS
from rules.packs import SHIPPED, load_directory
from rules.policy import load_policies
from rules.ruleset_cache import cached_ruleset


def main() -> None:
    packs, policies = load_directory(SHIPPED), load_policies()
    used = ("llm-standard-security", "mcp-standard-security", "mcp-advanced-security")
    defaults = [policies[name].packs for name in used]
    for names in (sorted(packs), *defaults, DECLARATION_PACKS):
        cached_ruleset([packs[name] for name in names], Path(os.environ["OSTIARY_CACHE_DIR"]))


if __name__ == "__main__":
    main()
