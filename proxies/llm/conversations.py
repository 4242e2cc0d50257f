"""Which calls of a caller belong together, so that a value has one placeholder in all of them (RED-PH-3, RED-PH-4).

Most APIs are sent the whole conversation again with every call: its first message tells it from others, and the map of
the call itself is enough. The Responses API remembers for the client: what was masked for a response is kept for those
that continue it, in the memory of this worker, for a while, and for the same caller only.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.llm.conversation_findings import KEPT_FINDINGS, held_up_to_now
from proxies.llm.surfaces import Surface
from proxies.strict_json import dump
from rules.masking.session import MaskingSession

MAX_SESSIONS: Final = 10_000
MAX_CHARACTERS: Final = 64 * 1024 * 1024
"""Bounds of all kept sessions together; the oldest go first."""
MAX_NAME_CHARACTERS: Final = 200
KEPT_SECONDS: Final = 3600.0

_BEGINNINGS: Final = ("messages", "contents", "input", "prompt")
"""Where the conversation of a request stands."""

Key = tuple[str, str, str]
"""Proxy, principal, response id."""


class KeptSessions:
    """Masking sessions by the response that continues them. A lookup needs the caller that they belong to.

    Safe to share between threads: large answers are finished in one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Key, tuple[float, MaskingSession]] = OrderedDict()
        self._characters = 0

    def __repr__(self) -> str:
        return f"<KeptSessions {len(self._sessions)}>"

    def __len__(self) -> int:
        return len(self._sessions)

    def keep(self, key: Key, session: MaskingSession) -> None:
        """Keep a session for the next call."""
        with self._lock:
            self._forget(key)
            self._sessions[key] = (time.monotonic() + KEPT_SECONDS, session)
            self._characters += session.characters
            while self._sessions and (len(self._sessions) > MAX_SESSIONS or self._characters > MAX_CHARACTERS):
                self._forget(next(iter(self._sessions)))

    def find(self, key: Key) -> MaskingSession | None:
        """The session to go on with, if there is one and it is not too old."""
        now = time.monotonic()
        with self._lock:
            while self._sessions and (oldest := next(iter(self._sessions))) and self._sessions[oldest][0] <= now:
                self._forget(oldest)
            kept = self._sessions.get(key)
            return kept[1] if kept else None

    def _forget(self, key: Key) -> None:
        if gone := self._sessions.pop(key, None):
            self._characters -= gone[1].characters


KEPT: Final = KeptSessions()


def recall_findings(exchange: Exchange, surface: Surface, document: dict[str, Any]) -> None:
    """What earlier calls of the continued conversation held supports a block of this request."""
    if surface is Surface.OPENAI_RESPONSES and len(KEPT_FINDINGS) and (name := _continued(document)):
        exchange.earlier = KEPT_FINDINGS.find(_key(exchange, name))
        exchange.conversation = exchange.earlier.copy() if exchange.earlier is not None else None


def resume_conversation(exchange: Exchange, surface: Surface, document: dict[str, Any]) -> None:
    """Go on with the session of the response or conversation that a request continues; it has been judged."""
    exchange.conversation = None  # An answer is judged by itself, and its findings are kept with it.
    if surface is Surface.OPENAI_RESPONSES and len(KEPT) and (name := _continued(document)):
        session = KEPT.find(_key(exchange, name))
        exchange.masking = session.copy() if session else None


def keep_conversation(exchange: Exchange, response: Any) -> None:
    """Keep what was found and masked, for the request that names this response or its conversation (LLM-SRF-6)."""
    recent = held_up_to_now(exchange)
    if not (exchange.masking or recent is not None) or type(response) is not dict:
        return
    conversation = response.get("conversation")
    for holder in (response, conversation if type(conversation) is dict else {}):
        name = holder.get("id")
        if type(name) is str and 0 < len(name) <= MAX_NAME_CHARACTERS:
            if exchange.masking:
                KEPT.keep(_key(exchange, name), exchange.masking)
            if recent is not None:
                KEPT_FINDINGS.keep(_key(exchange, name), recent)


def conversation_of(surface: Surface, document: dict[str, Any]) -> str:
    """What tells this conversation from others of the same caller: its name, or what it began with."""
    if surface is Surface.OPENAI_RESPONSES and (name := _continued(document)):
        return name
    messages = next((document[name] for name in _BEGINNINGS if name in document), None)
    first: Any = messages
    if type(messages) is list:
        users = (one for one in messages if type(one) is dict and one.get("role") == "user")
        first = next(users, messages[:1])
    return hashlib.sha256(dump(first)).hexdigest()


def _continued(document: dict[str, Any]) -> str:
    """The conversation or response that a request of the Responses API continues."""
    conversation = document.get("conversation")
    if type(conversation) is dict:
        conversation = conversation.get("id")
    name = conversation or document.get("previous_response_id")
    return name if type(name) is str else ""


def _key(exchange: Exchange, name: str) -> Key:
    return exchange.proxy.config.id, exchange.principal.id, name
