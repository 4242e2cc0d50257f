"""Everything that a server declares, gathered page by page in bounds."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxies.scan.conversation import Conversation
from proxies.scan.link import Reply
from rules.pinning.baseline import Origin, ServerDescription

MAX_PAGES: Final = 20
MAX_ENTRIES: Final = 2_000
MAX_BYTES: Final = 8 * 1024 * 1024
LISTS: Final = (
    ("tools/list", "tools", "tools"),
    ("prompts/list", "prompts", "prompts"),
    ("resources/list", "resources", "resources"),
    ("resources/templates/list", "resourceTemplates", "resource_templates"),
)
"""Method, member of its result, attribute of the description."""


def portable(value: Any) -> Any:
    """The value without integers that the channel to the console cannot carry: those become texts."""
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else str(value)
    if type(value) is list:
        return [portable(one) for one in value]
    if type(value) is dict:
        return {key: portable(one) for key, one in value.items()}
    return value


class Listing(msgspec.Struct, frozen=True):
    """What one client was told."""

    description: ServerDescription
    methods: tuple[str, ...]
    """Those that answered with a result."""
    problems: tuple[str, ...]
    size: int
    replies: tuple[Reply, ...]


async def list_all(conversation: Conversation, origin: Origin) -> Listing:
    """Ask for every list to its end."""
    entries: dict[str, list[Any]] = {}
    methods: list[str] = []
    problems: list[str] = []
    replies: list[Reply] = []
    for method, member, attribute in LISTS:
        found: list[Any] = []
        cursor: Any = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            reply, result = await conversation.request(method, {} if cursor is None else {"cursor": cursor})
            replies.append(reply)
            if result is None:
                break
            if method not in methods:
                methods.append(method)
            page = result.get(member)
            found += page if type(page) is list else []
            cursor = result.get("nextCursor")
            if len(found) > MAX_ENTRIES or sum(one.size for one in replies) > MAX_BYTES:
                problems.append(f"{method} is too long to be read in full.")
                break
            if type(cursor) is not str or not cursor:
                break
            if cursor in seen:
                problems.append(f"{method} names the same next page again and again.")
                del found[len(found) - (len(page) if type(page) is list else 0) :]
                break
            seen.add(cursor)
        else:
            problems.append(f"{method} does not end within {MAX_PAGES} pages.")
        entries[attribute] = [portable(one) for one in found[:MAX_ENTRIES]]
    opening: dict[str, Any] = {
        key: portable(conversation.opening[key])
        for key in ("protocolVersion", "capabilities", "instructions")
        if key in conversation.opening
    }
    if conversation.server_info is not None:
        opening["serverInfo"] = portable(conversation.server_info)
    return Listing(
        description=ServerDescription(origin, initialize=opening, **entries),
        methods=tuple(methods),
        problems=tuple(problems),
        size=sum(reply.size for reply in replies),
        replies=tuple(replies),
    )
