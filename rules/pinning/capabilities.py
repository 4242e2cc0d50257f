"""What a tool can do, as far as its name, description and parameters say so (SYP-SCAN-2).

A label is a hint for a person and for the classification of changes; it is never a permission. Annotations are not
read: they are what a server claims about itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

MAX_READ_CHARS: Final = 4_096
MAX_PARAMETERS: Final = 500


class Capability(StrEnum):
    """One class of effect."""

    EXECUTE = "execute"
    DELETE = "delete"
    WRITE_FILES = "write_files"
    PAYMENT = "payment"
    SEND = "send"
    NETWORK = "network"
    READ_FILES = "read_files"
    DATABASE = "database"
    CREDENTIALS = "credentials"
    PERSONAL_DATA = "personal_data"
    FOREIGN_CONTENT = "foreign_content"


DESTRUCTIVE: Final = frozenset({Capability.EXECUTE, Capability.DELETE, Capability.WRITE_FILES, Capability.PAYMENT})
EGRESS: Final = frozenset({Capability.EXECUTE, Capability.SEND, Capability.NETWORK})
PRIVATE: Final = frozenset(
    {Capability.READ_FILES, Capability.DATABASE, Capability.CREDENTIALS, Capability.PERSONAL_DATA}
)
UNTRUSTED: Final = frozenset({Capability.FOREIGN_CONTENT})
"""Results that people outside can write."""


def _pattern(verbs: str, objects: str, alone: str) -> re.Pattern[str]:
    """A verb with an object within five words, or a word that says it alone."""
    pair = rf"\b(?:{verbs})(?:s|es|d|ed|ing)?(?:\W+\w+){{0,4}}?\W+(?:{objects})s?\b"
    return re.compile(rf"{pair}|\b(?:{alone})\b" if alone else pair)


_SAID: Final[dict[Capability, re.Pattern[str]]] = {
    Capability.EXECUTE: _pattern(
        "execut|execute|run|eval|evaluate|spawn|launch",
        "command|cmd|code|script|shell|program|process|python|javascript|bash|sql",
        "exec|shell|bash|powershell|subprocess|terminal",
    ),
    Capability.DELETE: _pattern(
        "delete|delet|remove|remov|drop|purge|purg|wipe|wip|erase|eras|truncate|destroy",
        r"\w+",
        "rm|rmdir|unlink",
    ),
    Capability.WRITE_FILES: _pattern(
        "write|writ|create|creat|edit|modify|move|mov|rename|renam|overwrite|overwrit|append|save|sav|patch",
        "file|directory|directorie|folder|disk|path",
        "",
    ),
    Capability.PAYMENT: _pattern(
        "pay|transfer|charge|charg|refund|buy|purchase|purchas|order",
        "money|fund|payment|card|invoice|account|coin",
        "",
    ),
    Capability.SEND: _pattern(
        "send|post|publish|share|shar|forward|upload|email|notify|reply",
        "mail|email|message|sms|comment|tweet|channel|webhook|data|file|issue|server|notification|recipient",
        "send email|send message|webhook",
    ),
    Capability.NETWORK: _pattern(
        "fetch|request|download|call|connect|crawl|scrape|scrap|get|open|navigate|navigat|query|post",
        "url|uri|http|https|web|website|webpage|endpoint|host|site|internet",
        "curl|wget|http request",
    ),
    Capability.READ_FILES: _pattern(
        "read|list|search|open|load|view|get|cat|find", "file|directory|directorie|folder|disk|filesystem", ""
    ),
    Capability.DATABASE: _pattern(
        "query|querie|select|insert|update|updat|read|run|search", "database|table|sql|collection|schema|record", "sql"
    ),
    Capability.CREDENTIALS: _pattern(
        "read|get|list|return|retrieve|retriev|access|fetch|store|show",
        "credential|password|secret|api key|token|private key|keychain|vault|environment variable",
        "",
    ),
    Capability.PERSONAL_DATA: _pattern(
        "read|get|list|search|view|fetch|retrieve|retriev",
        "email|mail|mailbox|inbox|contact|calendar|message|conversation|customer|patient|employee|profile",
        "",
    ),
    Capability.FOREIGN_CONTENT: _pattern(
        "fetch|read|get|list|search|browse|brows|crawl|scrape|scrap|open|download|view|retrieve|retriev",
        "url|web|website|webpage|page|email|mail|inbox|issue|comment|pull request|ticket|message|feed|review|post",
        "web search",
    ),
}
_PARAMETERS: Final[dict[Capability, re.Pattern[str]]] = {
    Capability.EXECUTE: re.compile(r"(?:^| )(?:command|cmd|shell|script)(?: |$)"),
    Capability.NETWORK: re.compile(r"(?:^| )(?:url|uri|endpoint|webhook|callback|host|hostname)(?: |$)"),
    Capability.DATABASE: re.compile(r"(?:^| )sql(?: |$)"),
    Capability.CREDENTIALS: re.compile(r"(?:^| )(?:password|api key|secret|access token|private key)(?: |$)"),
    Capability.SEND: re.compile(r"(?:^| )(?:recipients?|bcc|cc|webhook)(?: |$)"),
}
_NEGATED: Final = re.compile(r"\b(?:not|never|without|cannot|n't|no)\W+(?:\w+\W+){0,2}$")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./:]+")


def capabilities_of(tool: dict[str, Any]) -> tuple[Capability, ...]:
    """The capability classes of a tool declaration, in the order of `Capability`."""
    texts = [_words(tool.get("name")), _words(tool.get("title")), _words(tool.get("description"))]
    parameters = list(parameter_names(tool.get("inputSchema")))
    return tuple(
        capability
        for capability in Capability
        if any(_is_said(_SAID[capability], text) for text in texts)
        or (capability in _PARAMETERS and any(_PARAMETERS[capability].search(name) for name in parameters))
    )


def parameter_names(schema: Any) -> Iterator[str]:
    """The names of the parameters of a tool as words; at most `MAX_PARAMETERS`."""
    properties = schema.get("properties") if type(schema) is dict else None
    if type(properties) is dict:
        for name in [*properties][:MAX_PARAMETERS]:
            yield _words(name)


def _words(value: Any) -> str:
    return " ".join(_CAMEL.sub(" ", value[:MAX_READ_CHARS]).lower().split()) if type(value) is str else ""


def _is_said(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the text says it at least once without denying it."""
    return any(not _NEGATED.search(text, max(0, match.start() - 40), match.start()) for match in pattern.finditer(text))
