"""Which calls of a caller belong together, so that a value has one placeholder in all of them (RED-PH-3, RED-PH-4) and what
was found in one supports a block of another.

Most APIs are sent the whole conversation again with every call: its first message tells it from others, the map of the
call itself is enough, and its messages are judged together. The Responses API remembers for the client: what was masked
and found for a response is kept for those that continue it, for the same caller only; what was masked in sealed files as well,
because the next call may come to another worker.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final

from proxies.conversation import WINDOW_SECONDS, RecentFindings
from proxies.exchange import Exchange
from proxies.llm.kept import Kept, Key
from proxies.llm.kept_files import KeptFiles
from proxies.llm.surfaces import Surface
from proxies.strict_json import dump
from rules.masking.session import MaskingSession
from rules.model import Action

MAX_CHARACTERS: Final = 64 * 1024 * 1024
MAX_FINDINGS: Final = 100_000
"""Bounds of what all conversations keep together."""
MAX_NAME_CHARACTERS: Final = 200
SESSION_SECONDS: Final = 3600.0

KEPT_SESSIONS: Final[Kept[MaskingSession]] = Kept(seconds=SESSION_SECONDS, max_weight=MAX_CHARACTERS)
KEPT_FILES: Final = KeptFiles(seconds=SESSION_SECONDS)
"""The same sessions for other workers, and for the time after this one."""
KEPT_FINDINGS: Final[Kept[RecentFindings]] = Kept(seconds=WINDOW_SECONDS, max_weight=MAX_FINDINGS)

_BEGINNINGS: Final = ("messages", "contents", "input", "prompt")
"""Where the conversation of a request stands."""


def recall_findings(exchange: Exchange, surface: Surface, document: dict[str, Any]) -> None:
    """What earlier calls of the continued conversation held supports a block of this request."""
    if surface is Surface.OPENAI_RESPONSES and len(KEPT_FINDINGS) and (name := _continued(document)):
        exchange.earlier = KEPT_FINDINGS.find(_key(exchange, name))
        exchange.conversation = exchange.earlier.copy() if exchange.earlier is not None else None


def is_kept_elsewhere(exchange: Exchange, document: dict[str, Any]) -> bool:
    """Whether another worker may know what was masked in the conversation that a request of the Responses API continues."""
    if not KEPT_FILES.is_open or not (name := _continued(document)):
        return False
    # A response never changes; a conversation grows with each call, wherever that is served.
    return bool(_named(document)) or KEPT_SESSIONS.find(_key(exchange, name)) is None


def fetch_conversation(exchange: Exchange, document: dict[str, Any]) -> None:
    """Take in what other workers have kept of the conversation that a request continues. It reads a file."""
    key = _key(exchange, _continued(document))
    if (session := KEPT_FILES.find(exchange.proxy.config.masking.key, key)) is not None:
        if (known := KEPT_SESSIONS.find(key)) is not None:
            session.take_in(known.values())
        KEPT_SESSIONS.keep(key, session, session.characters)


def keeps_conversation(exchange: Exchange, surface: Surface) -> bool:
    """Whether the end of this call's answer writes a file."""
    return surface is Surface.OPENAI_RESPONSES and bool(exchange.masking) and KEPT_FILES.is_open


def resume_conversation(exchange: Exchange, surface: Surface, document: dict[str, Any]) -> None:
    """Go on with the session of the response or conversation that a request continues; it has been judged."""
    exchange.conversation = None  # An answer is judged by itself, and its findings are kept with it.
    if surface is Surface.OPENAI_RESPONSES and len(KEPT_SESSIONS) and (name := _continued(document)):
        session = KEPT_SESSIONS.find(_key(exchange, name))
        exchange.masking = session.copy() if session else None


def keep_conversation(exchange: Exchange, response: Any) -> None:
    """Keep what was found and masked, for the request that names this response or its conversation (LLM-SRF-6)."""
    recent = _held_up_to_now(exchange)
    if type(response) is not dict or (not exchange.masking and recent is None):
        return
    conversation = response.get("conversation")
    for holder in (response, conversation if type(conversation) is dict else {}):
        name = holder.get("id")
        if type(name) is str and 0 < len(name) <= MAX_NAME_CHARACTERS:
            key = _key(exchange, name)
            if session := exchange.masking:
                if holder is conversation and (before := KEPT_SESSIONS.find(key)) is not None and before is not session:
                    # Another call of the conversation may have ended since this one began.
                    session.take_in(before.values())
                KEPT_FILES.keep(exchange.proxy.config.masking.key, key, session)
                KEPT_SESSIONS.keep(key, session, session.characters)
            if recent is not None:
                KEPT_FINDINGS.keep(key, recent, recent.count)


def conversation_of(surface: Surface, document: dict[str, Any]) -> str:
    """What tells this conversation from others of the same caller: its name, or what it began with."""
    if surface is Surface.OPENAI_RESPONSES:
        # What a response began with cannot be told from its name, so the calls of one caller are one conversation where
        # they name none.
        return _named(document)
    messages = next((document[name] for name in _BEGINNINGS if name in document), None)
    first: Any = messages
    if type(messages) is list:
        users = (one for one in messages if type(one) is dict and one.get("role") == "user")
        first = next(users, messages[0] if messages else None)
    return hashlib.sha256(dump(_words(first))).hexdigest()


def _held_up_to_now(exchange: Exchange) -> RecentFindings | None:
    """The findings of the calls before this one and of this one; None where nothing alerts."""
    found = [finding for finding in exchange.found if finding.action >= Action.ALERT]
    if not found:
        return exchange.earlier
    recent = exchange.earlier.copy() if exchange.earlier is not None else RecentFindings()
    recent.add(found, time.monotonic())
    return recent


def _words(message: Any) -> Any:
    """What a message says: a client may write the same text in another form, and mark it for a cache, in the next call."""
    content = message.get("content", message.get("parts")) if type(message) is dict else message
    if type(content) is not list:
        return content
    texts = [part["text"] for part in content if type(part) is dict and type(part.get("text")) is str]
    return "".join(texts) if texts else message


def _continued(document: dict[str, Any]) -> str:
    """The conversation or response that a request of the Responses API continues."""
    name = _named(document) or document.get("previous_response_id")
    return name if type(name) is str else ""


def _named(document: dict[str, Any]) -> str:
    """The conversation that a request of the Responses API names."""
    conversation = document.get("conversation")
    if type(conversation) is dict:
        conversation = conversation.get("id")
    return conversation if type(conversation) is str else ""


def _key(exchange: Exchange, name: str) -> Key:
    return exchange.proxy.config.id, exchange.principal.id, name
