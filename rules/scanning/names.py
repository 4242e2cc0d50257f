"""Checks of names: duplicates, look-alikes, look-alikes of well-known servers, names that say nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rules.confusables import LOOK_ALIKES
from rules.pinning.baseline import observe
from rules.pinning.names import MAX_NAME_CHARS, VALID, clash_kind, is_one_edit_apart, skeleton, spelling
from rules.pinning.visible import visible
from rules.scanning.collector import Collector, listed, shown
from rules.scanning.facts import ServerFacts

WELL_KNOWN: Final = tuple(
    """airtable apify asana atlassian aws azure bigquery brave-search browserbase cloudflare confluence context7
    datadog discord docker duckduckgo elasticsearch everart everything exa figma filesystem firecrawl github gitlab
    gmail google-calendar google-drive google-maps grafana hubspot jira kubernetes linear mongodb mysql neo4j notion
    obsidian openai paypal perplexity playwright postgres postmark puppeteer redis salesforce sequential-thinking
    sentry shopify slack snowflake sqlite stripe supabase tavily telegram terraform todoist twilio vercel whatsapp
    youtube zapier zendesk""".split()
)
"""Servers that many people use, and whose names are worth imitating."""
MIN_TYPO_CHARS: Final = 5
GENERIC: Final = frozenset(
    """action call command data do exec execute fetch get handle helper list main process query read request run search
    send submit test tool update use utility write""".split()
)
_AFFIXES: Final = re.compile(
    r"^(?:mcp|server|the|official)[\s_.\-/]+|[\s_.\-/]+(?:mcp|server|mcp[\s_.\-]server|official)$", re.IGNORECASE
)


def check_names(facts: ServerFacts, other_names: Mapping[str, Iterable[str]], found: Collector) -> None:
    """Everything about names. `other_names` are the tools of the other servers that the same clients see."""
    _check_faults(facts, found)
    tools = [
        (index, tool["name"])
        for index, tool in enumerate(facts.description.tools)
        if type(tool) is dict and type(tool.get("name")) is str
    ]
    _check_characters(tools, found)
    _check_clashes(tools, other_names, found)
    generic = [(index, name) for index, name in tools if spelling(name) in GENERIC]
    if generic:
        found.add(
            "MCP-NAME-004",
            f"These tools could do anything: {listed([name for _, name in generic])}.",
            location=f"/tools/{generic[0][0]}/name",
        )
    _check_server_name(facts.description.initialize, found)


def _check_faults(facts: ServerFacts, found: Collector) -> None:
    for fault in observe(facts.description).faults:
        if fault.code == "duplicate_name":
            found.add(
                "MCP-NAME-001", f"There is a second {fault.kind} named {shown(fault.name)}.",
                location=fault.pointer, kind=fault.kind, subject=fault.name,
            )  # fmt: skip
        else:
            found.add(
                "MCP-SCHEMA-009", f"This {fault.kind} has no usable name or is too large.",
                location=fault.pointer, kind=fault.kind, subject=fault.name,
            )  # fmt: skip


def _check_characters(tools: list[tuple[int, str]], found: Collector) -> None:
    for index, name in tools:
        if VALID.fullmatch(name):
            continue
        imitates = not name.isascii() and skeleton(name).isascii()
        found.add(
            "MCP-NAME-002" if imitates else "MCP-NAME-003",
            f"{shown(name)} is drawn like “{_latin(name)}”, with letters of another script."
            if imitates
            else f"{shown(name)} is not what the specification allows.",
            evidence=" ".join(f"U+{ord(char):04X}" for char in name if not char.isascii())[:200] or repr(name)[:200],
            location=f"/tools/{index}/name", kind="tool", subject=name,
        )  # fmt: skip


def _latin(name: str) -> str:
    """The name with the letters that it is taken for."""
    return visible(unicodedata.normalize("NFKC", name[:MAX_NAME_CHARS]).translate(LOOK_ALIKES), 120)


def _check_clashes(tools: list[tuple[int, str]], other_names: Mapping[str, Iterable[str]], found: Collector) -> None:
    known: dict[str, list[tuple[str, str]]] = {}
    for server, names in other_names.items():
        for name in names:
            known.setdefault(skeleton(name), []).append((server, name))
    own: dict[str, list[str]] = {}
    for index, name in tools:
        key = skeleton(name)
        for other in own.get(key, ()):
            if clash_kind(name, other) not in (None, "same"):
                found.add(
                    "MCP-NAME-002", f"{shown(name)} can be taken for {shown(other)} of this server.",
                    location=f"/tools/{index}/name", kind="tool", subject=name,
                )  # fmt: skip
        for server, other in known.get(key, ()):
            if (kind := clash_kind(name, other)) is None:
                continue
            same = kind == "same"
            found.add(
                "MCP-NAME-005" if same else "MCP-NAME-002",
                f"{shown(name)} {'is also a tool' if same else f'can be taken for {shown(other)}'} of {shown(server)}.",
                location=f"/tools/{index}/name", kind="tool", subject=name,
            )  # fmt: skip
        own.setdefault(key, []).append(name)


def _check_server_name(initialize: Mapping[str, Any], found: Collector) -> None:
    info = initialize.get("serverInfo")
    name = info.get("name") if type(info) is dict else None
    if type(name) is not str:
        return
    for part in {name, name.rpartition("/")[2]}:
        core = _AFFIXES.sub("", _AFFIXES.sub("", part))
        for known in WELL_KNOWN:
            if spelling(core) == spelling(known):
                continue
            alike = clash_kind(core, known) is not None
            if alike or (len(known) >= MIN_TYPO_CHARS and is_one_edit_apart(spelling(core), spelling(known))):
                found.add(
                    "MCP-NAME-006", f"{shown(name)} differs from “{known}” by one character or by its script.",
                    evidence=name, location="/initialize/serverInfo/name",
                )  # fmt: skip
