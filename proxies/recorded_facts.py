"""What conditions may ask about a call and its captured texts do not tell, for its record: a draft is judged on a recorded call
as on the running one.

Nothing of it may be a secret: counts, names of tools, numbers too short to belong to a person, and headers that carry no
credential, are named by a policy or known to be harmless, and look like words. What is left out is known to be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from proxies.contract import RecordedFacts, RecordedTool
from proxies.json_texts import pointer
from proxies.transport.headers import Headers
from rules.facts import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, ToolCall
from rules.model import Text
from rules.redact import masked, masked_name

Direction = Literal["request", "response"]

MAX_TOOLS: Final = 64
MAX_VALUES: Final = 128
"""Of all tools of a call together."""
MAX_NAME_CHARACTERS: Final = 200
MAX_ROLES: Final = 20
MAX_ROLE_CHARACTERS: Final = 40
MAX_HEADERS: Final = 32
MAX_HEADER_CHARACTERS: Final = 200
MAX_DEPTH: Final = 16
MAX_NUMBER_CHARACTERS: Final = 8
"""A longer number may be one of a person."""
HARMLESS_HEADERS: Final = frozenset(
    {
        "accept-language",
        "anthropic-beta",
        "anthropic-version",
        "mcp-protocol-version",
        "origin",
        "user-agent",
        "x-client",
        "x-environment",
        "x-region",
        "x-team",
        "x-tenant",
    }
)
"""Kept although no policy names them yet: what drafts most often ask about."""
CREDENTIALS: Final = frozenset(
    {"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token", "x-goog-api-key"}
)
"""Never kept, whatever a policy names."""


class Turns(NamedTuple):
    """The messages of a request in numbers."""

    counted: int = 0
    """Those that `message_count` counts."""
    entries: int = 0
    """All of them, with system prompts and results that stand beside the messages."""
    roles: dict[str, int] = {}  # noqa: RUF012 - Never written.


class CallNotes:
    """What is noted of a running call; looked into only when its texts are recorded."""

    __slots__ = ("_answered", "_calls", "_is_mixed", "_texts", "_turns")

    def __init__(self, turns: Turns, calls: Sequence[ToolCall], texts: Sequence[Text]) -> None:
        self._turns = turns
        self._calls = calls
        self._texts = texts
        self._answered: list[ToolCall] = []
        self._is_mixed = False

    def mix(self) -> None:
        """Another message came in the same call: the places of both are the same, so that their tools are not told apart."""
        self._is_mixed = True

    def answer(self, calls: Sequence[ToolCall]) -> None:
        """Note the tools that an answer asks for."""
        self._answered += calls

    def facts(self, headers: Headers, named: frozenset[str]) -> RecordedFacts:
        """The facts for the record; `named` are the headers that policies ask about."""
        known = {name: value for name in _wanted(named) if (value := _header(headers, name)) is not None}
        asked = len(self._calls) + len(self._answered)
        return RecordedFacts(
            message_count=self._turns.counted,
            role_counts=_kept_roles(self._turns.roles),
            token_estimate=_tokens(self._texts) + TOKENS_PER_MESSAGE * self._turns.entries,
            headers={name: value for name, value in known.items() if name in headers},
            header_names=tuple(known),
            tools=tuple(reversed(list(self._tools()))) if asked else (),
            has_all_tools=asked <= MAX_TOOLS and not self._is_mixed,
        )

    def _tools(self) -> Iterator[RecordedTool]:
        """The newest calls: the end of a conversation says more than its beginning."""
        left = MAX_VALUES
        room = MAX_TOOLS - len(self._answered)
        newest: list[tuple[Direction, ToolCall]] = [("response", call) for call in self._answered[:MAX_TOOLS]]
        newest += [("request", call) for call in (self._calls[: -room - 1 : -1] if room > 0 else ())]
        for direction, call in newest:
            tool = _tool(direction, call, left)
            left -= len(tool.values)
            yield tool


@lru_cache(maxsize=64)
def _wanted(named: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted((HARMLESS_HEADERS | named) - CREDENTIALS))[:MAX_HEADERS]


def _header(headers: Headers, name: str) -> str | None:
    """The value of a header, empty for one that did not come; None for one that may not be kept."""
    if name not in headers:
        return ""
    value = ", ".join(headers.getall(name))
    return value if len(value) <= MAX_HEADER_CHARACTERS and _is_plain(value) else None


@lru_cache(maxsize=512)
def _is_plain(value: str) -> bool:
    """Whether nothing in it could be a credential. The same ones come again and again."""
    return masked(value, ()).text == value == masked_name(value)


def _kept_roles(roles: dict[str, int]) -> dict[str, int]:
    """Roles are chosen by the client: more of them, or longer ones, than policies can name are not kept."""
    if len(roles) <= MAX_ROLES:
        return {role: count for role, count in roles.items() if len(role) <= MAX_ROLE_CHARACTERS}
    known = [(role, count) for role, count in roles.items() if len(role) <= MAX_ROLE_CHARACTERS]
    return dict(sorted(known, key=lambda item: -item[1])[:MAX_ROLES])


def _tokens(texts: Sequence[Text]) -> int:
    """As `Facts.token_estimate` counts the texts."""
    size = 0
    for text in texts:
        size += len(text.text) if text.text.isascii() else len(text.text.encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)


def _tool(direction: Direction, call: ToolCall, room: int) -> RecordedTool:
    name = masked_name(call.name[:MAX_NAME_CHARACTERS])
    values: dict[str, Any] = {}
    is_whole = name == call.name
    for place, value in _values(call.arguments, "", MAX_DEPTH):
        if len(values) == room:
            is_whole = False
            break
        if len(place) <= MAX_NAME_CHARACTERS and _is_harmless(value):
            values[place] = value
        else:
            is_whole = False
    return RecordedTool(direction, name, call.path[:MAX_NAME_CHARACTERS], values, is_whole)


def _is_harmless(value: Any) -> bool:
    if value is None or type(value) is bool or type(value) in (dict, list):
        return True
    return type(value) in (int, float) and len(repr(value)) <= MAX_NUMBER_CHARACTERS


def _values(value: Any, place: str, depth: int) -> Iterator[tuple[str, Any]]:
    """What is no text, by its place; what lies too deep as itself, which nobody keeps."""
    members: Iterable[tuple[str, Any]]
    if type(value) is dict:
        members = ((pointer(place, key), member) for key, member in value.items())
    elif type(value) is list:
        members = ((f"{place}/{index}", member) for index, member in enumerate(value))
    else:
        if type(value) is not str:
            yield place, value
        return
    if not value:
        yield place, type(value)()
    elif not depth:
        yield place, ...
    else:
        for below, member in members:
            yield from _values(member, below, depth - 1)
