"""The message that somebody tries: its texts and facts as a proxy would read them, and the context beside it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime

import msgspec

from app import clock
from app.errors import ValidationFailed
from app.policies.trial_schemas import ContextChunk, ContextJudge, ContextView, Evaluate
from proxies.reading import Reading, UnknownMessage, read_message
from rules.context_firewall import (
    MEMBER,
    SETTINGS_PACK,
    ContextInput,
    ContextMalformed,
    chunk_scores,
    chunk_texts,
    origin_allowed,
    rejections,
    take_context,
)
from rules.facts import Facts, Message
from rules.model import Action, Finding, Target, Text
from rules.policy import OWN_PACK_PREFIX, ContextFirewall, Policy

MAX_TEXTS = 2_000
TRIED_PACK = "context-firewall-tried"
"""Under which a firewall reports that stands nowhere but in the question."""
_FIREWALL_NAMES = {SETTINGS_PACK: "settings", TRIED_PACK: "tried"}


class Tried(msgspec.Struct, frozen=True):
    """What is judged."""

    protocol: str
    direction: str
    texts: list[Text]
    facts: Facts
    context: ContextInput | None = None
    firewalls: tuple[tuple[str, ContextFirewall], ...] = ()
    """The firewalls that judge the context, each with the pack under which it reports."""

    @property
    def chunks(self) -> list[Text]:
        """The texts of the context: what nothing checks apart is read as a part of the prompt, as on the wire."""
        texts = chunk_texts(self.context) if self.context is not None else []
        return texts if self.firewalls else [Text(Target.PROMPT, text.path, text.text) for text in texts]


def read(wanted: Evaluate) -> Reading:
    """The message as the readers of the proxies see it; raises ValidationFailed."""
    if (wanted.text is None) == (wanted.request is None):
        raise ValidationFailed(fields={"text": "Give either a text or a request."})
    if wanted.request is not None:
        try:
            reading = read_message(wanted.request)
        except UnknownMessage as error:
            raise ValidationFailed(fields={"request": str(error)}) from error
        if len(reading.texts) > MAX_TEXTS:
            raise ValidationFailed(fields={"request": f"It holds more than {MAX_TEXTS} texts."})
        return reading
    texts = [Text(Target(wanted.target), "", wanted.text or "")]
    facts = Facts(phase=wanted.direction, messages=(Message("user", ""),), texts=texts)
    return Reading("text", wanted.direction, texts, facts)


def tried_message(
    wanted: Evaluate, reading: Reading, policies: Sequence[Policy], default: ContextFirewall | None = None
) -> Tried:
    """The message with who sends it from where and when, and apart from it the context that a firewall checks: the one that
    is tried, else those of the policies, else that of the settings (`default`), as on the wire.

    Raises ValidationFailed.
    """
    firewalls = tuple((policy.own_pack_name, policy.context) for policy in policies if policy.context is not None)
    if not firewalls and default is not None:
        firewalls = ((SETTINGS_PACK, default),)
    if wanted.context_firewall is not None:
        firewalls = ((TRIED_PACK, wanted.context_firewall),)
    context = wanted.context
    if context is not None and (reading.direction != "request" or reading.protocol == "mcp"):
        raise ValidationFailed(fields={"context": "Only requests to language models have a context."})
    if context is not None and wanted.request is not None and MEMBER in wanted.request:
        raise ValidationFailed(fields={"context": "The request has a context of its own."})
    if (
        context is None
        and firewalls
        and wanted.request is not None
        and reading.direction == "request"
        and reading.protocol != "mcp"
    ):
        rest = dict(wanted.request)
        try:
            context = take_context(rest)
        except ContextMalformed as error:
            raise ValidationFailed(fields={"request": str(error)}) from error
        reading = read_message(rest)
    facts = msgspec.structs.replace(
        reading.facts,
        model=reading.facts.model or wanted.model,
        client_id=wanted.client,
        client_name=wanted.client,
        ip=_address(wanted.client_ip),
        headers={name.lower(): value for name, value in wanted.headers.items()},
        now=_moment(wanted.at),
    )
    return Tried(reading.protocol, reading.direction, reading.texts, facts, context, firewalls)


def context_view(tried: Tried, found: Sequence[Finding]) -> ContextView | None:
    """What became of the context; `found` is what rules found in it. None without one."""
    if tried.context is None:
        return None
    source = tried.context.source
    scores = chunk_scores(tried.context, found)
    return ContextView(
        source=source,
        firewalls=[
            ContextJudge(
                name=_FIREWALL_NAMES.get(pack) or pack.removeprefix(OWN_PACK_PREFIX),
                allowed_origins=list(firewall.allowed_origins),
                risk_threshold=firewall.risk_threshold,
                origin_allowed=not firewall.allowed_origins or origin_allowed(source, firewall.allowed_origins),
            )
            for pack, firewall in tried.firewalls
        ],
        chunks=[
            ContextChunk(id=chunk.id, score=score) for chunk, score in zip(tried.context.chunks, scores, strict=True)
        ],
    )


def context_findings(tried: Tried, found: Sequence[Finding]) -> list[Finding]:
    """What rules found in the context, and what refuses it. Where a firewall takes it out it is only noted."""
    if tried.context is None:
        return []
    if not tried.firewalls:
        return list(found)
    noted = [msgspec.structs.replace(finding, action=Action.LOG) for finding in found]
    return noted + [
        refused for pack, firewall in tried.firewalls for refused in rejections(pack, firewall, tried.context, found)
    ]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError as error:
        raise ValidationFailed(fields={"client_ip": f"{text} is no address."}) from error


def _moment(at: datetime | None) -> datetime:
    if at is not None and at.tzinfo is None:
        raise ValidationFailed(fields={"at": "The time needs a time zone, as in 2026-11-23T08:30:00Z."})
    return at or clock.utcnow()
