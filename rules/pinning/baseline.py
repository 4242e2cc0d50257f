"""What was approved: a server as it described itself, in canonical form, with hashes (T-02, T-07).

`observe` makes it from a captured description, both for the approved state and for every later observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from rules.model import Finding
from rules.pinning.canonical import NotCanonical, canonical_json, hash_json, sha256
from rules.pinning.capabilities import Capability, capabilities_of
from rules.pinning.references import NotExpandable, expanded

MAX_ENTRIES: Final = 5_000
MAX_ENTRY_BYTES: Final = 1_048_576
MAX_NAME_CHARS: Final = 4_096
MAX_MEMBERS: Final = 1_000

EntryKind = Literal["tool", "prompt", "resource", "template"]
SCHEMA_MEMBERS: Final = ("inputSchema", "outputSchema")


class Origin(msgspec.Struct, frozen=True):
    """How the gateway reaches a server: the identity that the server cannot choose for itself."""

    url: str = ""
    command: tuple[str, ...] = ()
    tls_key_sha256: str = ""
    """SHA-256 of the server's public key (SPKI), empty where there is no TLS or it is not known."""
    authenticated: bool = False
    """Whether the server asks for a credential."""


class ServerDescription(msgspec.Struct, frozen=True):
    """All that one server said about itself, as it came over the wire (raw JSON values, hostile)."""

    origin: Origin
    initialize: dict[str, Any] = {}
    """The result of `initialize` or `server/discover`."""
    tools: list[Any] = []
    prompts: list[Any] = []
    resources: list[Any] = []
    resource_templates: list[Any] = []


class Entry(msgspec.Struct, frozen=True):
    """One tool, prompt, resource or template of a baseline."""

    kind: EntryKind
    name: str
    """The name; of a resource its URI, of a template its URI template."""
    document: bytes
    """The whole object in canonical JSON, unknown members included."""
    h_raw: str
    h_sem: str
    """The hash after the expansion of local references; `h_raw` where the schemas cannot be expanded."""
    fields: dict[str, str]
    """The hash of each member."""
    capabilities: tuple[Capability, ...] = ()
    known_findings: tuple[str, ...] = ()
    """Keys of the findings (`finding_key`) that whoever approved the entry has seen."""

    def value(self) -> dict[str, Any]:
        """The object itself."""
        decoded: dict[str, Any] = msgspec.json.decode(self.document)
        return decoded


class Fault(msgspec.Struct, frozen=True):
    """Something in a description that cannot be pinned: it must not be offered to anybody."""

    code: Literal["unreadable_entry", "duplicate_name"]
    kind: EntryKind | Literal["server"]
    name: str
    pointer: str
    """RFC 6901, in the shape of the description: `/tools/3`."""


class Baseline(msgspec.Struct, frozen=True):
    """A server's description in a form that can be kept, signed and compared."""

    origin: Origin
    server_name: str
    server_version: str
    protocol_version: str
    instructions: str
    capabilities: bytes
    details: bytes
    """The other members of `serverInfo`, canonical."""
    entries: tuple[Entry, ...]
    """Ordered by kind and name."""
    faults: tuple[Fault, ...] = ()

    @property
    def root_hash(self) -> str:
        """One hash for the whole: equal if and only if nothing was changed. Orders of lists do not count."""
        entries = [[entry.kind, entry.name, entry.h_raw] for entry in self.entries]
        server = [self.server_name, self.server_version, self.protocol_version, self.instructions]
        parts = [self.origin, server, self.capabilities, self.details, entries, self.faults]
        return sha256(msgspec.json.encode(parts))

    def entry(self, kind: EntryKind, name: str) -> Entry | None:
        """The entry of that kind and name."""
        return next((entry for entry in self.entries if entry.kind == kind and entry.name == name), None)


def observe(description: ServerDescription, findings: Iterable[Finding] = ()) -> Baseline:
    """The description in canonical form. `findings` have paths inside the description (`/tools/3/description`)."""
    known = findings_by_entry(findings)
    entries: dict[tuple[str, str], Entry] = {}
    faults: list[Fault] = []
    for kind, identity, pointer, value in _listed(description):
        name = value.get(identity) if type(value) is dict else None
        if type(name) is not str or len(name) > MAX_NAME_CHARS:
            faults.append(Fault("unreadable_entry", kind, "", pointer))
        elif (kind, name) in entries:
            faults.append(Fault("duplicate_name", kind, name, pointer))
        else:
            try:
                entries[kind, name] = _entry(kind, name, value, known.get(pointer, ()))
            except NotCanonical:
                faults.append(Fault("unreadable_entry", kind, name, pointer))
    faults += _overlong(description)
    ordered = tuple(entries[key] for key in sorted(entries))
    return _server(description, ordered, faults)


def finding_key(finding: Finding, pointer: str) -> str:
    """What makes a finding the same in two observations: rule, place inside the entry and evidence."""
    return sha256(f"{finding.rule_id}\n{finding.path[len(pointer) :]}\n{finding.evidence}".encode("utf-8", "replace"))


def findings_by_entry(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings by the pointer of their entry (`/tools/3`); those about the server itself stand at `/initialize`."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        parts = finding.path.split("/")
        depth = 2 if parts[1:2] == ["initialize"] else 3
        found.setdefault("/".join(parts[:depth]).rstrip("#"), []).append(finding)
    return found


def entry_pointers(description: ServerDescription) -> dict[tuple[EntryKind, str], str]:
    """Where each named entry stands in the description; of duplicates the first."""
    found: dict[tuple[EntryKind, str], str] = {}
    for kind, identity, pointer, value in _listed(description):
        if type(value) is dict and type(value.get(identity)) is str:
            found.setdefault((kind, value[identity]), pointer)
    return found


_KINDS: Final[tuple[tuple[EntryKind, str, str, str], ...]] = (
    ("tool", "tools", "tools", "name"),
    ("prompt", "prompts", "prompts", "name"),
    ("resource", "resources", "resources", "uri"),
    ("template", "resource_templates", "resourceTemplates", "uriTemplate"),
)
"""Kind, member of `ServerDescription`, its name on the wire and in pointers, and what identifies an entry."""


def _listed(description: ServerDescription) -> Iterator[tuple[EntryKind, str, str, Any]]:
    for kind, attribute, wire, identity in _KINDS:
        for index, value in enumerate(getattr(description, attribute)[:MAX_ENTRIES]):
            yield kind, identity, f"/{wire}/{index}", value


def _overlong(description: ServerDescription) -> list[Fault]:
    return [
        Fault("unreadable_entry", kind, "", f"/{wire}/{MAX_ENTRIES}")
        for kind, attribute, wire, _ in _KINDS
        if len(getattr(description, attribute)) > MAX_ENTRIES
    ]


def _entry(kind: EntryKind, name: str, value: dict[str, Any], findings: Iterable[Finding]) -> Entry:
    document = canonical_json(value)
    if len(document) > MAX_ENTRY_BYTES or len(value) > MAX_MEMBERS:
        raise NotCanonical(f"larger than {MAX_ENTRY_BYTES} bytes")
    h_raw = sha256(document)
    return Entry(
        kind=kind,
        name=name,
        document=document,
        h_raw=h_raw,
        h_sem=_semantic_hash(value, h_raw) if kind == "tool" else h_raw,
        fields={key: hash_json(member) for key, member in value.items()},
        capabilities=capabilities_of(value) if kind == "tool" else (),
        known_findings=tuple(sorted({finding_key(one, "/".join(one.path.split("/")[:3])) for one in findings})),
    )


def _semantic_hash(tool: dict[str, Any], h_raw: str) -> str:
    try:
        return hash_json({key: expanded(value) if key in SCHEMA_MEMBERS else value for key, value in tool.items()})
    except (NotExpandable, NotCanonical):
        return h_raw


def _server(description: ServerDescription, entries: tuple[Entry, ...], faults: list[Fault]) -> Baseline:
    result = description.initialize
    info = result.get("serverInfo")
    info = info if type(info) is dict else {}
    try:
        capabilities = canonical_json(result.get("capabilities"))
        details = canonical_json({key: value for key, value in info.items() if key not in ("name", "version")})
    except NotCanonical:
        capabilities = details = b"null"
        faults = [*faults, Fault("unreadable_entry", "server", "", "/initialize")]
    return Baseline(
        origin=description.origin,
        server_name=_text(info, "name"),
        server_version=_text(info, "version"),
        protocol_version=_text(result, "protocolVersion"),
        instructions=_text(result, "instructions"),
        capabilities=capabilities,
        details=details,
        entries=entries,
        faults=tuple(faults),
    )


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text.encode("utf-8", "backslashreplace").decode() if type(text) is str else ""
