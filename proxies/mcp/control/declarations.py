"""What a server declares: its tools, prompts, resources and templates, each with the hash that an approval is bound to.

Most lists are the list before: an entry whose bytes are known is not hashed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from proxies.contract import EntryKind
from proxies.mcp.param_headers import InvalidAnnotation, ParamHeader, header_annotations
from proxies.mcp.refusals import printable
from proxies.strict_json import dump, parse
from rules.json_schema import Schema
from rules.pinning.canonical import NotCanonical, canonical_json, sha256

MAX_ENTRY_BYTES: Final = 1024 * 1024
MAX_NAME_CHARACTERS: Final = 4096
MAX_PROBLEMS: Final = 50


class ListKind(NamedTuple):
    """One of the four lists of a server."""

    kind: EntryKind
    method: str
    member: str
    """Of the result."""
    identity: str
    """The member by which an entry is known."""


LIST_KINDS: Final[Mapping[EntryKind, ListKind]] = {
    "tool": ListKind("tool", "tools/list", "tools", "name"),
    "prompt": ListKind("prompt", "prompts/list", "prompts", "name"),
    "resource": ListKind("resource", "resources/list", "resources", "uri"),
    "template": ListKind("template", "resources/templates/list", "resourceTemplates", "uriTemplate"),
}
CONTROLLED_LISTS: Final = {one.method: one for one in LIST_KINDS.values() if one.kind != "resource"}
"""By method. Resources are inventoried and pass as they are: whatever they hold is inspected when it is read."""


class Declaration:
    """One entry of a list. What is derived from it is made once, when it is first needed."""

    __slots__ = ("_headers", "canonical", "document", "h_raw", "kind", "name", "schemas", "wire")

    def __init__(self, kind: EntryKind, name: str, document: dict[str, Any], wire: bytes) -> None:
        """Raises `NotCanonical` for an entry that cannot be pinned."""
        self.kind = kind
        self.name = name
        self.document = document
        self.wire = wire
        """The document as it is sent."""
        self.canonical = canonical_json(document)
        if len(self.canonical) > MAX_ENTRY_BYTES:
            raise NotCanonical(f"larger than {MAX_ENTRY_BYTES} bytes")
        self.h_raw = sha256(self.canonical)
        self.schemas: dict[str, Schema] = {}
        """Compiled schemas by member, see `schemas`."""
        self._headers: tuple[ParamHeader, ...] | InvalidAnnotation | None = None

    def __repr__(self) -> str:
        return f"<Declaration {self.kind} {printable(self.name)} {self.h_raw[:12]}>"

    def fresh_document(self) -> dict[str, Any]:
        """The document as a copy that may be changed: what is masked in an answer must not change what is compared."""
        copy: dict[str, Any] = parse(self.wire)
        return copy

    @property
    def headers(self) -> tuple[ParamHeader, ...]:
        """The arguments that are copied into headers (M-03); raises `InvalidAnnotation` for a tool that must not be
        offered (M-05)."""
        if self._headers is None:
            try:
                self._headers = header_annotations(self.document.get("inputSchema"))
            except InvalidAnnotation as error:
                self._headers = error
        if isinstance(self._headers, InvalidAnnotation):
            raise self._headers
        return self._headers


class Listing:
    """One list as it stands now."""

    __slots__ = ("_by_wire", "complete", "digest", "entries", "kind", "problems")

    def __init__(self, kind: EntryKind, *, complete: bool = True, problems: Iterable[str] = ()) -> None:
        self.kind = kind
        self.complete = complete
        """Whether it was read to its end: only then is missing what it lacks."""
        self.problems = list(problems)[:MAX_PROBLEMS]
        self.entries: dict[str, Declaration] = {}
        """By name, in the order of their names. Duplicates and what cannot be pinned are not among them."""
        self.digest = ""
        """The same for two lists that declare the same, in whatever order."""
        self._by_wire: dict[bytes, Declaration] = {}

    def __repr__(self) -> str:
        return f"<Listing {self.kind} {len(self.entries)}>"

    @classmethod
    def read(
        cls,
        kind: EntryKind,
        raw: Iterable[Any],
        *,
        before: Listing | None = None,
        complete: bool = True,
        problems: Iterable[str] = (),
    ) -> Listing:
        """The list in these entries. `before` is the list that this one follows: what it has is taken over."""
        listing = cls(kind, complete=complete, problems=problems)
        known = before._by_wire if before is not None else {}
        identity = LIST_KINDS[kind].identity
        seen: dict[str, Declaration] = {}
        refused: set[str] = set()
        for document in raw:
            name = document.get(identity) if type(document) is dict else None
            if type(name) is not str or len(name) > MAX_NAME_CHARACTERS:
                listing._note(f"A {kind} has no usable {identity} and is not offered.")
                continue
            if name in seen or name in refused:
                listing._note(f"The {kind} {printable(name)} is declared more than once; none of them is offered.")
                refused.add(name)
                seen.pop(name, None)
            elif (declaration := listing._declaration(name, document, known)) is not None:
                seen[name] = declaration
            else:
                refused.add(name)
        for name in sorted(seen):
            listing.entries[name] = seen[name]
            listing._by_wire[seen[name].wire] = seen[name]
        listing.digest = sha256(
            dump([[one.name, one.h_raw] for one in listing.entries.values()] + [complete, listing.problems])
        )
        return listing

    def _declaration(
        self, name: str, document: dict[str, Any], known: Mapping[bytes, Declaration]
    ) -> Declaration | None:
        wire = dump(document)
        try:
            return known.get(wire) or Declaration(self.kind, name, document, wire)
        except NotCanonical as error:
            self._note(f"The {self.kind} {printable(name)} cannot be pinned ({error}) and is not offered.")
            return None

    def _note(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)
