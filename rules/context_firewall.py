"""The context firewall: where retrieved texts come from, and what they try to say to the model (SLG-CTX-1 to 3).

A caller names the context that it has built into a prompt as a member `context` of the request: `{source, chunks: [{id,
content}]}`. `take_context` removes it, as no provider knows it; `origin_allowed` judges its source; `chunk_scores` adds up
what rules found in each chunk; `rejections` says what refuses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from rules.model import Action, Confidence, Finding, Severity, Target, Text
from rules.policy import ContextFirewall
from rules.redact import excerpt
from rules.seams import Scan, across_seams

MEMBER = "context"
SETTINGS_PACK = "context-firewall"
"""Under which the firewall reports that the settings give to proxies whose policies have none."""
ORIGIN_RULE = "CONTEXT-ORIGIN"
SCORE_RULE = "CONTEXT-SCORE"
MAX_RULES_NAMED = 5
MAX_CHUNKS = 500
MAX_SOURCE_CHARS = 2_000


class Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One retrieved text."""

    id: Annotated[str, Meta(max_length=500)]
    content: str


class ContextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller says about its context."""

    source: Annotated[str, Meta(min_length=1, max_length=MAX_SOURCE_CHARS)]
    chunks: Annotated[tuple[Chunk, ...], Meta(max_length=MAX_CHUNKS)] = ()


class Citation(msgspec.Struct, frozen=True):
    """Which text an answer stands on: the caller's id, and SHA-256 of the content as hex."""

    id: str
    sha256: str


class ContextMalformed(ValueError):
    """The member is there and has another shape; the message names the place."""


def take_context(document: dict[str, Any]) -> ContextInput | None:
    """Remove the context from a request and return it; None without one. Raises `ContextMalformed`."""
    if MEMBER not in document:
        return None
    given = document.pop(MEMBER)
    try:
        return msgspec.convert(given, ContextInput)
    except msgspec.ValidationError as error:
        raise ContextMalformed(f"The member `{MEMBER}` is not {{source, chunks: [{{id, content}}]}}: {error}") from None


def origin_allowed(source: str, allowed: Iterable[str]) -> bool:
    """Whether a source lies below one of the allowed origins; whole path segments count, so that `kb://approved` does
    not admit `kb://approved-not`. A source with tricks in its path lies below none."""
    parsed = _parse(source)
    if parsed is None:
        return False
    scheme, authority, segments = parsed
    for origin in allowed:
        wanted = _parse(origin)
        if wanted and wanted[:2] == (scheme, authority) and segments[: len(wanted[2])] == wanted[2]:
            return True
    return False


def _parse(url: str) -> tuple[str, str, list[str]] | None:
    """Scheme, authority and path segments; None for what two readers could take for different places."""
    if not url.isprintable() or any(trick in url for trick in ("\\", "%", "?", "#", "@", " ")):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    segments = parts.path.split("/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    if not parts.scheme or not parts.netloc or any(segment in ("", ".", "..") for segment in segments):
        return None
    return parts.scheme.lower(), parts.netloc.lower(), segments


def chunk_texts(context: ContextInput) -> list[Text]:
    """The chunks as texts to scan."""
    return [
        Text(Target.DOCUMENT, f"/{MEMBER}/chunks/{index}/content", chunk.content)
        for index, chunk in enumerate(context.chunks)
    ]


def across_chunks(context: ContextInput, scan: Scan, known: Sequence[Finding]) -> list[Finding]:
    """What `scan` finds across the ends of chunks, which a model reads one after the other; `known` is what it finds in them.

    A finding counts for the chunk in which it begins.
    """
    names = {text.path: f"/contents/{index}/text" for index, text in enumerate(chunk_texts(context))}
    parts = [Text(Target.RESOURCE, names[text.path], text.text) for text in chunk_texts(context)]
    found = across_seams(
        parts,
        lambda joined: scan([replace(text, target=Target.DOCUMENT) for text in joined]),
        [replace(finding, path=names[finding.path]) for finding in known if finding.path in names],
    )
    places = {name: path for path, name in names.items()}
    return [replace(finding, path=places[finding.path]) for finding in found]


def chunk_scores(context: ContextInput, findings: Sequence[Finding]) -> list[int]:
    """For each chunk the sum of the scores of the rules that hit it, each rule once with its highest score."""
    by_path: dict[str, dict[str, int]] = {}
    for finding in findings:
        scores = by_path.setdefault(finding.path, {})
        scores[finding.rule_id] = max(scores.get(finding.rule_id, 0), finding.score)
    return [sum(by_path.get(text.path, {}).values()) for text in chunk_texts(context)]


def citations(context: ContextInput) -> list[Citation]:
    """What an answer can cite, in the order of the chunks."""
    return [Citation(chunk.id, hashlib.sha256(chunk.content.encode()).hexdigest()) for chunk in context.chunks]


def rejections(pack: str, firewall: ContextFirewall, context: ContextInput, found: Sequence[Finding]) -> list[Finding]:
    """What refuses a context by one firewall, which reports as `pack`; `found` is what rules found in the chunks."""
    scores = chunk_scores(context, found)
    rejected = []
    if firewall.allowed_origins and not origin_allowed(context.source, firewall.allowed_origins):
        evidence = excerpt(context.source, 0, len(context.source), ())
        title = "Context from an origin that is not allowed"
        rejected.append(_rejection(pack, ORIGIN_RULE, title, f"/{MEMBER}/source", evidence))
    worst = max(range(len(scores)), key=scores.__getitem__, default=-1)
    if worst >= 0 and scores[worst] >= firewall.risk_threshold:
        path = chunk_texts(context)[worst].path
        rules = list(dict.fromkeys(finding.rule_id for finding in found if finding.path == path))[:MAX_RULES_NAMED]
        evidence = f"score {scores[worst]} of at most {firewall.risk_threshold - 1}: {', '.join(rules)}"
        rejected.append(_rejection(pack, SCORE_RULE, "Context that gives orders to the model", path, evidence))
    return rejected


def _rejection(pack: str, rule_id: str, title: str, path: str, evidence: str) -> Finding:
    return Finding(
        rule_id=rule_id,
        pack=pack,
        title=title,
        category="policy/context",
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=100,
        action=Action.BLOCK,
        target=Target.DOCUMENT,
        path=path,
        start=0,
        end=0,
        view="raw",
        evidence=evidence,
    )
