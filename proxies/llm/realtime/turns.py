"""What a Realtime client says between two responses: judged and masked event by event, recorded with the response that follows.

A turn is one call in the records. It has an exchange of its own, under the snapshot that is in force when it begins, and its
events are to its rules and thresholds what the messages of a chat are.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

from proxies import pipeline
from proxies.exchange import Exchange
from proxies.llm.placeholder_hint import to_member
from proxies.llm.realtime.audio import put_audio, take_audio
from proxies.llm.realtime.client_events import client_messages, client_texts
from proxies.steps.facts import complete
from proxies.strict_json import dump
from rules.facts import Message
from rules.model import Target, Text

MAX_EVENTS: Final = 500
"""Events of one turn with texts; the next one begins another turn."""
MAX_SAID: Final = 2_000
"""Texts of the client that are recognised where the upstream repeats them."""


class Said:
    """The texts that went upstream on one connection, by digest: where they come back they need not be inspected again."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        return _digest(text) in self._digests

    def add(self, text: str) -> None:
        """This went upstream."""
        self._digests[_digest(text)] = None
        if len(self._digests) > MAX_SAID:
            self._digests.popitem(last=False)


class Turn:
    """One turn, from its first event to the response that it leads to."""

    def __init__(self, exchange: Exchange, said: Said) -> None:
        self.exchange = exchange
        self.created_by = ""
        """The client's name for the event that asks for the response."""
        self.alias = ""
        """The name that the provider knows this event by."""
        self.asks = False
        """Whether the client asked for the response; otherwise the provider began it by itself."""
        self.is_busy = False
        """Whether an event is being judged now."""
        self.events = 0
        self._said = said
        self._judged = False

    @property
    def is_worth_a_record(self) -> bool:
        """Whether anything was said in it."""
        return bool(self.events)

    def judge(self, event: dict[str, Any]) -> bytes:
        """What goes upstream for one event; raises `Refusal`."""
        taken = take_audio(event)
        exchange = self.exchange
        path = f"/input/{self.events}"
        texts = client_texts(event, path) if pipeline.has_rules(exchange) else []
        if texts or not self._judged:
            self._judged = True
            self._inspect(event, path, texts)
        if texts:
            self.events += 1
        put_audio(taken)
        return dump(event)

    def judge_silence(self) -> None:
        """Ask the conditions of the policies, where nothing was said that they were asked about; raises `Refusal`."""
        if not self._judged:
            self._judged = True
            self._inspect({}, "", [])

    def _inspect(self, event: dict[str, Any], path: str, texts: list[Text]) -> None:
        exchange = self.exchange
        facts = None
        if pipeline.needs_facts(exchange):
            messages, calls = client_messages(event, path)
            facts = complete(
                exchange, kind="llm", model=exchange.operation, messages=messages, tool_calls=calls, texts=texts
            )
        found = pipeline.inspect_request(exchange, texts, facts)
        edits: dict[str, str] = {}
        if found or exchange.masking:
            document = {"input": {path.rpartition("/")[2]: event}}
            edits = pipeline.mask_request(exchange, document, texts, found, exchange.id)
        unchanged = {finding.path for finding in found} - edits.keys()
        for text in texts:
            # What was found where nothing may be changed went on as it is, and is looked for in answers as ever.
            if text.path not in unchanged:
                self._said.add(edits.get(text.path, text.text))
        if exchange.protection.policies.hints_at_placeholders:
            self._hint(event)

    def _hint(self, event: dict[str, Any]) -> None:
        """Ask the model to copy placeholders, where the client itself gives it instructions (RED-PH-5)."""
        for name in ("session", "response"):
            settings = event.get(name)
            if type(settings) is dict and type(settings.get("instructions")) is str:
                to_member(settings, "instructions")
                self._said.add(settings["instructions"])


def judge_heard(exchange: Exchange, transcript: str) -> None:
    """Judge what a caller was heard to say as what it is, a prompt; raises `Refusal`."""
    texts = [Text(Target.PROMPT, "/transcript", transcript)]
    facts = None
    if pipeline.needs_facts(exchange):
        messages = (Message("user", "/transcript"),)
        facts = complete(exchange, kind="llm", model=exchange.operation, messages=messages, texts=texts)
    pipeline.inspect_request(exchange, texts, facts)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
