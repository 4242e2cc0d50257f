"""Mask what rules found in a request before it goes upstream (RED-PH-3, RED-STR-12). Failing is never an allow (RED-STR-7).

The spans of the findings are replaced where they stand, and so is every other occurrence of the same values in the
message: an assistant's earlier answer in which they were restored, a tool result, the arguments of a call. What looks
like a placeholder is masked as well, so that it comes back as it was.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.json_edit import EditImpossible, containers, edit_texts, steps
from proxies.refusal import Refusal
from proxies.shown_places import hidden_names, shown_place
from proxies.steps.decide import too_many_values
from rules.masking.placeholders import LITERAL_LABEL, session_key
from rules.masking.session import MaskingFull, MaskingSession
from rules.masking.spans import (
    RepeatedValues,
    Span,
    literal_spans,
    masking_into,
    replace_spans,
    settle,
)
from rules.model import Confidence, Finding, Target, Text

logger = logging.getLogger(__name__)

_OWN_KEY: Final = os.urandom(32)
"""Stands in for the installation's masking key where the snapshot brings none."""
_NAMING_MEMBERS: Final = frozenset(
    """id type role model call_id tool_call_id tool_use_id previous_response_id conversation file_id item_id fileUri
    file_uri""".split()
)
"""Members by which the protocol tells things apart: a value to mask there cannot go on, since another word breaks the call."""
_WORD_MEMBERS: Final = frozenset({"role", "type"})
"""Members whose words the protocol has chosen: whatever a rule finds there is no accident, as it may be in an id."""
_FIXED_MEMBERS: Final = _NAMING_MEMBERS | frozenset(
    "signature encrypted_content cache_control thoughtSignature thought_signature cursor progressToken requestId".split()
)
_OWN_CONTAINERS: Final = frozenset({"arguments", "args", "metadata", "structuredContent"})
_OWN_CONTAINERS_BELOW: Final = frozenset({"input", "response"})
"""Members whose inside is the caller's or the tool's own, where no name means anything to the protocol; the latter are
members of the protocol itself at the top of a document."""
_SAID_BEFORE: Final = frozenset({Target.COMPLETION, Target.TOOL_ARGS, Target.TOOL_RESULT})
"""What comes of earlier answers: placeholders that were not put back there, as in a link or in a call, stay what they are."""
_NOWHERE: Final[tuple[str, list[Span]]] = ("", [])
SIGNED_TYPES: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning.encrypted"})


class NotMaskable(Exception):
    """A value to mask stands at a place whose words the protocol needs."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def span_of(finding: Finding) -> Span:
    """The span that a finding asks to replace; records its whole hit where it names no value."""
    start, end = finding.value_start, finding.value_end
    if end <= start:
        start, end = finding.start, finding.end
    return Span(start, end, finding.label or "VALUE", finding.reversible, finding.rule_id, finding.score)


def is_of(value: dict[str, Any], types: frozenset[str]) -> bool:
    """Whether an object says that it is of one of these types; what it says may be anything."""
    return type(kind := value.get("type")) is str and kind in types


def is_fixed(document: Any, text: Text) -> bool:
    """Whether a text must not be changed where it stands: ids, names of tools, what is signed or encrypted (LLM-SRF-3)."""
    if text.target is Target.TOOL_NAME:
        return True
    path = steps(text.path)
    if text.target is Target.COMPLETION and _is_signed_block(path):
        return True
    place = text.path
    if (own := _own_container(path)) >= 0:
        place = "/".join(text.path.split("/")[: own + 2])
    elif path[-1] in _FIXED_MEMBERS or (path[-1] == "data" and "reasoning_details" in path):
        return True
    around = list(containers(document, place))
    if "reasoning_details" in path and any(is_signed_detail(value) for value in around):
        return True
    return any(is_of(value, SIGNED_TYPES) or value.get("thought") is True for value in around)


def is_name_to_mask(text: Text, *, is_certain: bool) -> bool:
    """Whether a value stands where the protocol names or tells apart something, and by no accident."""
    last = steps(text.path)[-1]
    return last in _WORD_MEMBERS or (is_certain and last in _NAMING_MEMBERS)


def is_signed_detail(detail: dict[str, Any]) -> bool:
    """Whether a piece of reasoning among OpenRouter's `reasoning_details` is signed. In a stream the signature comes last,
    but the format says whose it is: only Anthropic signs what can be read."""
    return bool(detail.get("signature")) or str(detail.get("format")).startswith("anthropic")


def _own_container(path: list[str]) -> int:
    """Where in a pointer the container stands whose inside is not the protocol's; -1 where there is none."""
    for index, step in enumerate(path[:-1]):
        if step in _OWN_CONTAINERS or (index and step in _OWN_CONTAINERS_BELOW):
            return index
    return -1


def _is_signed_block(path: list[str]) -> bool:
    """Whether a place lies in a block of reasoning of Bedrock's Converse, which has no member that says its type."""
    if "reasoningContent" not in path:
        return False
    place = path.index("reasoningContent")
    return place >= 2 and path[place - 1].isdecimal() and path[place - 2] == "content"


def start_session(exchange: Exchange, conversation: str) -> MaskingSession:
    """The session of this call; `conversation` is whatever tells the conversations of one caller apart."""
    if exchange.masking is None:
        config = exchange.proxy.config
        scope = (exchange.principal.id, config.id, conversation)
        exchange.masking = MaskingSession(session_key(config.masking.key or _OWN_KEY, *scope))
    return exchange.masking


def mask_request(
    exchange: Exchange, document: Any, texts: Sequence[Text], found: Sequence[Finding], conversation: str
) -> dict[str, str]:
    """Mask the values that `found` names in the texts of a request; returns the new texts by place.

    `document` is changed in place; texts below `/headers` are not part of it. Raises `Refusal` where that is
    impossible.
    """
    try:
        session = start_session(exchange, conversation)
        edits = _masked_texts(exchange, session, document, texts, found)
        edit_texts(document, {path: text for path, text in edits.items() if not path.startswith("/headers/")})
    except NotMaskable as stuck:
        place = shown_place(stuck.path, hidden_names(found))
        raise Refusal(
            422,
            "masking_failed",
            f"A value that must be masked stands in {place}, where nothing can be changed, so the message did not pass.",
            remediation="Send the value as content, not as a name or an identifier.",
        ) from None
    except MaskingFull as full:
        raise too_many_values(exchange, full) from None
    except (EditImpossible, ValueError) as error:
        raise masking_failed(exchange, error) from None
    return edits


def _masked_texts(
    exchange: Exchange, session: MaskingSession, document: Any, texts: Sequence[Text], found: Sequence[Finding]
) -> dict[str, str]:
    places = settled_places(document, texts, found)
    repeated = RepeatedValues(_kinds(session, places.values()))
    replace = masking_into(session)
    edits: dict[str, str] = {}
    originals: dict[str, str] = {}
    for text in texts:
        path, content = text.path, text.text
        _, spans = places.get((text.target, path), _NOWHERE)
        if originals.setdefault(path, content) != content and spans:
            raise EditImpossible("two texts stand in the same place")
        literals = literal_spans(content, session, keeps_own=text.target in _SAID_BEFORE)
        others = [*literals, *repeated.spans(content)]
        if spans:
            # Most values occur once: what repeats a span adds nothing to it.
            known = set(spans)
            others = [span for span in others if span not in known]
        elif others and is_fixed(document, text):
            continue
        if settled := settle([*spans, *others]) if others else spans:
            edits[path] = replace_spans(content, settled, replace)
            for span in settled:
                if span.label != LITERAL_LABEL:
                    exchange.note_redaction(span.label, "request", span.rule_id)
    return edits


def settled_places(
    document: Any, texts: Sequence[Text], found: Sequence[Finding]
) -> dict[tuple[Target, str], tuple[str, list[Span]]]:
    """The texts in which something was found that may be changed there, and the settled spans. Raises NotMaskable."""
    spans: dict[tuple[Target, str], list[Span]] = {}
    for finding in found:
        spans.setdefault((finding.target, finding.path), []).append(span_of(finding))
    certain = {(finding.target, finding.path) for finding in found if finding.confidence is Confidence.HIGH}
    paths = {path for _, path in spans}
    places: dict[tuple[Target, str], tuple[str, list[Span]]] = {}
    for text in texts:
        if text.path in paths and (place := (text.target, text.path)) in spans:
            if not is_fixed(document, text):
                places[place] = text.text, settle(spans[place])
            elif text.target is Target.TOOL_NAME or is_name_to_mask(text, is_certain=place in certain):
                raise NotMaskable(text.path)
    return places


def _kinds(session: MaskingSession, places: Iterable[tuple[str, Sequence[Span]]]) -> dict[str, Span]:
    """Every value to mask with the span that says how: those found now, and those of earlier calls of the session."""
    kinds = {
        masked.value: Span(0, 0, masked.label, True, masked.rule_id)
        for masked in session.values()
        if masked.label != LITERAL_LABEL
    }
    for text, spans in places:
        for span in spans:
            value = text[span.start : span.end]
            if value not in kinds or not span.reversible:
                kinds[value] = span
            if span.reversible:
                session.mask(span.label, value, span.rule_id)
    return kinds


def masking_failed(exchange: Exchange, error: Exception) -> Refusal:
    """What a message becomes that cannot be masked: it does not pass. The reason names no value."""
    logger.error("masking of %s failed: %s: %s", exchange.id, type(error).__name__, error)
    return Refusal(
        500,
        "masking_failed",
        "The gateway could not mask this message, so it did not pass.",
        remediation="Try again; if it persists, give the request id to an administrator.",
        outcome="failed",
    )
