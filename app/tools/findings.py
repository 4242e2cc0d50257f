"""What the rules find in declarations: the packs for poisoned tools, hidden text, exfiltration and injected orders, over
every text of every entry. The ruleset is compiled once, and kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from app.errors import Unavailable
from app.fleet.rulesets import Rulesets, RulesetUnavailable
from app.policies.library import PolicyLibrary
from app.tools.documents import WIRE_LISTS, Declared, parsed
from proxies.reading import declared_texts
from proxies.rulesets import RulesetRefused, read_ruleset
from rules.engine import EngineError, Ruleset
from rules.model import Finding, Target, Text
from rules.packs import Pack
from rules.pinning.baseline import finding_key

logger = logging.getLogger(__name__)

PACKS: Final = ("exfiltration", "hidden-text", "indirect-injection", "tool-poisoning")
MAX_FINDINGS_OF_ENTRY: Final = 50
MAX_SERVER_TEXTS: Final = 5_000
_PROSE: Final = frozenset({Target.TOOL_DESCRIPTION, Target.PARAM_DESCRIPTION, Target.SERVER_INSTRUCTIONS})


class EntryFinding(msgspec.Struct, frozen=True):
    """A finding as it is kept with its entry: offsets count characters of the text at `pointer`."""

    rule_id: str
    pack: str
    title: str
    category: str
    severity: str
    pointer: str
    """RFC 6901, inside the entry."""
    start: int
    end: int
    view: str
    evidence: str
    key: str
    """What makes it the same finding in two observations."""


class Found(msgspec.Struct, frozen=True):
    """The findings of one scan, as `rules.pinning` reads them and by entry."""

    raw: tuple[Finding, ...]
    by_entry: dict[tuple[str, str], list[EntryFinding]]

    def of(self, kind: str, name: str) -> list[EntryFinding]:
        """The findings in one entry."""
        return self.by_entry.get((kind, name), [])


class DeclarationRules:
    """The ruleset for declarations, and scans with it."""

    def __init__(self, *, library: PolicyLibrary, rulesets: Rulesets) -> None:
        self._library = library
        self._rulesets = rulesets
        self._ruleset: Ruleset | None = None
        self._loading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<DeclarationRules {'ready' if self._ruleset else 'not loaded'}>"

    async def prepare(self) -> None:
        """Compile ahead of the first server."""
        if not self._packs():
            return
        try:
            await self.ruleset()
        except Unavailable as error:
            if self._rulesets.is_closed:
                return  # Nothing is wrong: the console stops before they are compiled.
            logger.error("Declarations of MCP servers cannot be read by the rules: %s", error)

    async def ruleset(self) -> Ruleset:
        """The ruleset; raises Unavailable."""
        async with self._loading:
            if self._ruleset is None:
                try:
                    source = await self._rulesets.of_packs(self._packs())
                    self._ruleset = await asyncio.to_thread(read_ruleset, source)
                except (RulesetUnavailable, RulesetRefused, EngineError, OSError) as error:
                    raise Unavailable(f"The rules for declarations cannot be loaded: {error}") from error
            return self._ruleset

    def _packs(self) -> list[Pack]:
        shared = self._library.shared_packs
        return [shared[name] for name in PACKS if name in shared]


def scan(ruleset: Ruleset, server: bytes | None, entries: Iterable[Declared]) -> Found:
    """What the rules find; paths are those of the description that the same entries make."""
    declared = list(entries)
    texts = list(_texts(server, declared))
    findings = list(_once(ruleset.scan(texts, direction="response")))
    names: dict[str, tuple[str, str]] = {"/initialize": ("server", "")}
    counters: dict[str, int] = {}
    for entry in declared:
        index = counters.get(entry.kind, 0)
        counters[entry.kind] = index + 1
        names[f"/{WIRE_LISTS[entry.kind]}/{index}"] = (entry.kind, entry.name)
    by_entry: dict[tuple[str, str], list[EntryFinding]] = {}
    for finding in findings:
        parts = finding.path.split("/")
        pointer = "/".join(parts[: 2 if parts[1:2] == ["initialize"] else 3]).rstrip("#")
        found = by_entry.setdefault(names[pointer], [])
        if len(found) < MAX_FINDINGS_OF_ENTRY:
            found.append(_kept(finding, pointer))
    return Found(tuple(findings), by_entry)


def _kept(finding: Finding, pointer: str) -> EntryFinding:
    return EntryFinding(
        rule_id=finding.rule_id,
        pack=finding.pack,
        title=finding.title,
        category=finding.category,
        severity=finding.severity.word,
        pointer=finding.path[len(pointer) :][:500].replace("\x00", "\ufffd"),
        start=finding.start,
        end=finding.end,
        view=finding.view,
        evidence=finding.evidence[:400].replace("\x00", "\ufffd"),
        key=finding_key(finding, pointer),
    )


def _texts(server: bytes | None, entries: list[Declared]) -> Iterator[Text]:
    result: dict[str, list[Any]] = {}
    for entry in entries:
        result.setdefault(WIRE_LISTS[entry.kind], []).append(entry.value)
    texts = [msgspec.structs.replace(text, path=text.path.removeprefix("/result")) for text in declared_texts(result)]
    if server:
        texts += _server_texts(parsed(server))
    for text in texts:
        yield text
        if text.target in _PROSE:
            # Rules for texts from outside read documents; to a model a description is one.
            yield Text(Target.DOCUMENT, text.path, text.text)


def _server_texts(server: dict[str, Any]) -> list[Text]:
    texts: list[Text] = []
    waiting = [(f"/initialize/{key}", server[key]) for key in ("instructions", "serverInfo") if key in server]
    while waiting and len(texts) < MAX_SERVER_TEXTS:
        path, value = waiting.pop()
        if type(value) is str and value:
            texts.append(Text(Target.SERVER_INSTRUCTIONS, path, value))
        elif type(value) is dict:
            waiting += [
                (f"{path}/{key.replace('~', '~0').replace('/', '~1')}", member) for key, member in value.items()
            ]
        elif type(value) is list:
            waiting += [(f"{path}/{index}", member) for index, member in enumerate(value)]
    return texts


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Each hit once, though some texts were read as two kinds."""
    seen: set[tuple[str, str, int, int, str]] = set()
    for finding in findings:
        key = (finding.rule_id, finding.path, finding.start, finding.end, finding.view)
        if key not in seen:
            seen.add(key)
            yield finding


def as_rows(findings: Iterable[EntryFinding]) -> list[dict[str, Any]]:
    """For a JSON column."""
    rows: list[dict[str, Any]] = json.loads(msgspec.json.encode(list(findings)))
    return rows
