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
"""No policy names a longer one."""
MAX_HEADERS: Final = 32
MAX_HEADER_CHARACTERS: Final = 200
MAX_DEPTH: Final = 16
MAX_SEEN: Final = 2_000
"""Values of one tool that are looked at, texts among them."""
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
    """What is noted of a running call for its record, where the message is inspected: a large one in a thread."""

    __slots__ = ("_asked", "_is_mixed", "_left", "_tokens", "_tools", "_turns")

    def __init__(self, turns: Turns, calls: Sequence[ToolCall], texts: Sequence[Text]) -> None:
        self._turns = turns
        self._tokens = _tokens(texts) + TOKENS_PER_MESSAGE * turns.entries
        self._tools: list[RecordedTool] = []
        self._asked = 0
        self._left = MAX_VALUES
        self._is_mixed = False
        if calls:
            self._note("request", calls)

    def mix(self) -> None:
        """Another message came in the same call: the places of both are the same, so that their tools are not told apart."""
        self._is_mixed = True

    def answer(self, calls: Sequence[ToolCall]) -> None:
        """Note the tools that an answer asks for."""
        self._note("response", calls)

    def _note(self, direction: Direction, calls: Sequence[ToolCall]) -> None:
        """Of more calls than fit the newest are kept: the end of a conversation says more than its beginning."""
        self._asked += len(calls)
        noted = []
        for call in reversed(calls[-MAX_TOOLS:]):
            tool = _tool(direction, call, self._left)
            self._left -= len(tool.values)
            noted.append(tool)
        self._tools = [*self._tools, *reversed(noted)][-MAX_TOOLS:]

    def facts(self, headers: Headers, named: frozenset[str]) -> RecordedFacts:
        """The facts for the record; `named` are the headers that policies ask about."""
        names, wanted = _wanted(named)
        kept: dict[str, str] = {}
        for name, value in headers.items():
            if name in wanted:
                kept[name] = f"{kept[name]}, {value}" if name in kept else value
        for name in [
            name for name, value in kept.items() if len(value) > MAX_HEADER_CHARACTERS or not _is_plain(value)
        ]:
            del kept[name]
            names = tuple(other for other in names if other != name)
        roles = self._turns.roles
        if len(roles) > 1 or "user" not in roles:
            roles = {role: count for role, count in roles.items() if len(role) <= MAX_ROLE_CHARACTERS}
        has_room = len(roles) <= MAX_ROLES
        return RecordedFacts(
            message_count=self._turns.counted,
            role_counts=roles if has_room else {},
            has_all_roles=has_room,
            token_estimate=self._tokens,
            headers=kept,
            header_names=names,
            tools=tuple(self._tools),
            has_all_tools=self._asked <= MAX_TOOLS and not self._is_mixed,
        )


@lru_cache(maxsize=64)
def _wanted(named: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    names = tuple(sorted((HARMLESS_HEADERS | named) - CREDENTIALS))[:MAX_HEADERS]
    return names, frozenset(names)


@lru_cache(maxsize=512)
def _is_plain(value: str) -> bool:
    """Whether nothing in it could be a credential or an address of a person. The same ones come again and again."""
    return "@" not in value and masked(value, ()).text == value == masked_name(value)


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
    for seen, (place, value) in enumerate(_values(call.arguments, "", MAX_DEPTH)):
        if seen == MAX_SEEN or (len(values) == room and type(value) is not str):
            is_whole = False
            break
        if type(value) is str:
            continue
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
    """What holds nothing else, by its place; what lies too deep as an ellipsis, which nobody keeps."""
    members: Iterable[tuple[str, Any]]
    if type(value) is dict:
        members = ((pointer(place, key), member) for key, member in value.items())
    elif type(value) is list:
        members = ((f"{place}/{index}", member) for index, member in enumerate(value))
    else:
        yield place, value
        return
    if not value:
        yield place, type(value)()
    elif not depth:
        yield place, ...
    else:
        for below, member in members:
            yield from _values(member, below, depth - 1)
