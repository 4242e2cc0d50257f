"""What a change is called and how bad it is: the table of docs/pinning.md. The first row that applies decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from rules.model import Severity


class Row(NamedTuple):
    """One kind of change."""

    severity: Severity
    code: str
    meaning: str


CLASSIFICATION: Final = tuple(
    Row(severity, code, meaning)
    for severity, rows in {
        Severity.CRITICAL: (
            ("unreadable_entry", "something that cannot be read, or is too large, and therefore cannot be pinned"),
            ("duplicate_name", "two declarations with one name"),
            ("new_finding", "a rule for poisoned tools, hidden text or exfiltration finds something in changed text"),
            ("hidden_characters_added", "invisible characters in changed text that were not there before"),
            ("dangerous_capability_added", "the tool can now destroy something or send something out"),
            ("hint_made_safer", "`readOnlyHint` or `destructiveHint` claims to be safer while the schema is unchanged"),
            ("origin_changed", "another URL or another launch command"),
            ("authentication_removed", "the server no longer asks for a credential"),
            ("header_argument_added", "an argument is copied into a header (`x-mcp-header`)"),
            ("address_added", "a URL or file path as default, constant or choice"),
            ("remote_reference_added", "a `$ref` that leads out of the schema"),
        ),
        Severity.HIGH: (
            ("required_parameter_added", "a parameter that must be given"),
            ("free_parameter_added", "a free text for a command, URL, path, query or callback"),
            ("additional_properties_widened", "arguments that no schema describes are now accepted"),
            ("type_widened", "a parameter accepts more types or alternatives"),
            ("constraint_loosened", "a choice, pattern, format or limit is gone or wider"),
            ("hint_made_safer_with_changes", "a hint claims to be safer, and the schema is another one"),
            ("instructions_changed", "the server's instructions to the model"),
            ("server_identity_changed", "the server calls itself by another name"),
            ("tls_key_changed", "another public key of the server"),
            ("protocol_downgraded", "an older revision of the protocol"),
            ("name_collision", "a new tool has the name of a tool of another server"),
            ("look_alike_name", "a new name can be taken for another one"),
            ("tool_renamed", "a tool is gone and a new one with the same schema or text is there"),
            ("tool_removed", "a tool is gone"),
            ("schema_not_expandable", "the schema can no longer be read in full: too large, too deep, or another base"),
        ),
        Severity.MEDIUM: (
            ("tool_added", "a new tool"),
            ("entry_added", "a new prompt, resource or template"),
            ("entry_removed", "a prompt, resource or template is gone"),
            ("description_changed", "a text is another one: other words, new orders, addresses or negations"),
            ("optional_parameter_added", "a parameter that may be given"),
            ("parameter_removed", "a parameter is gone"),
            ("output_schema_changed", "what the tool says it returns"),
            ("title_changed", "the title or the icons"),
            ("annotations_changed", "hints of the tool that became stricter, or unknown ones"),
            ("schema_changed", "anything else in the parameters"),
            ("member_changed", "any other member, also one that nobody knows"),
            ("server_details_changed", "title, website or icons of the server"),
            ("server_capabilities_changed", "what the server says it supports"),
            ("protocol_changed", "a newer revision of the protocol"),
        ),
        Severity.LOW: (
            ("description_reworded", "nearly the same words (similarity 0.9 or more), nothing of the above in them"),
            ("examples_changed", "examples and notes of the schema"),
            ("server_version_changed", "the server's own version"),
        ),
        Severity.INFO: (("notation_changed", "the same meaning, written in another way"),),
    }.items()
    for code, meaning in rows
)
SEVERITY_OF: Final = {row.code: row.severity for row in CLASSIFICATION}
_ORDER: Final = {row.code: index for index, row in enumerate(CLASSIFICATION)}


class Reason(msgspec.Struct, frozen=True):
    """One row that applies."""

    code: str
    pointer: str = ""
    """RFC 6901 inside the entry, or inside the description for the server itself."""
    detail: str = ""
    """What exactly, safe to show: hidden characters are visible."""

    @property
    def severity(self) -> Severity:
        return SEVERITY_OF[self.code]


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The reasons as the table orders them, each once; the first one decides."""
    return tuple(sorted(dict.fromkeys(reasons), key=lambda reason: (_ORDER[reason.code], reason.pointer)))
