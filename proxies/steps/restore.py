"""A whole answer on its way to the client: values that rules found are replaced, then placeholders are restored.

In this order, so that a restored value is never taken for a finding (RED-STR-6). Everything that is only right for the
text as the upstream sent it (probabilities of tokens, offsets) goes where the text was changed (RED-STR-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.json_edit import EditImpossible, containers, edit_texts
from proxies.steps.mask import is_fixed, is_name_to_mask, is_of, masking_failed, span_of
from rules.masking.placeholders import may_hold_placeholder
from rules.masking.session import MaskingFull, MaskingSession
from rules.masking.spans import Span, for_good, replace_spans, without_placeholders
from rules.masking.unmask import unmask
from rules.model import Confidence, Finding, Target, Text

HOSTED_CALLS: Final = frozenset(
    """server_tool_use mcp_call mcp_tool_use mcp_approval_request mcp_list_tools web_search_call file_search_call
    code_interpreter_call image_generation_call executableCode""".split()
)
"""Calls that the provider carries out itself: their arguments are not released to it (RED-PH-7)."""
_STALE: Final = frozenset({"logprobs", "annotations", "citations"})
"""Members beside a text that only fit it as it was; they stay, empty."""
_DROPPED: Final = frozenset({"content_filter_offsets", "groundingMetadata", "citationMetadata", "logprobsResult"})
_PROBABILITIES: Final = frozenset({"logprobs", "logprobsResult"})
_WHERE: Final = (_STALE | _DROPPED) - _PROBABILITIES
_PLACES: Final = ("start_index", "end_index")


def finish_answer(exchange: Exchange, document: Any, texts: Sequence[Text], found: Sequence[Finding]) -> None:
    """Redact and restore the texts of one answer, in place; raises `Refusal` where that is impossible."""
    if not found and not exchange.masking:
        return
    try:
        edits = _finished_texts(exchange, document, texts, found)
        edit_texts(document, edits)
    except (EditImpossible, MaskingFull, ValueError) as error:
        raise masking_failed(exchange, error) from None
    for path in edits:
        drop_stale(containers(document, path))


def drop_stale(around: Iterable[dict[str, Any]], kept: frozenset[str] = frozenset()) -> None:
    """Remove what does not fit a changed text from the objects around it (RED-STR-5), without what is `kept`."""
    for value in around:
        for member in _STALE.intersection(value) - kept:
            if value.get(member):
                value[member] = [] if type(value[member]) is list else None
        for member in _DROPPED.intersection(value) - kept:
            del value[member]


def drop_stale_apart(
    exchange: Exchange, event: dict[str, Any], beside: Iterable[dict[str, Any]], *, is_holding: bool
) -> None:
    """Remove from an event what fits only the texts of a stream as they were, once values went or came back.

    Probabilities of tokens go as soon as something is held that may change; those of the objects `beside` a piece of text
    have gone with it where it was changed.
    """
    changed = bool(exchange.restored) or any(direction == "response" for _, direction, _ in exchange.redactions)
    if not changed and not is_holding:
        return
    spoken = {id(value) for value in beside}
    kept: frozenset[str] = frozenset() if changed else _WHERE
    around = [event] if "type" not in event else []
    for member in ("choices", "candidates"):
        for choice in event[member] if type(event.get(member)) is list else ():
            if type(choice) is dict:
                around += [choice, delta] if type(delta := choice.get("delta")) is dict else [choice]
    for value in around:
        drop_stale((value,), kept | _PROBABILITIES if id(value) in spoken else kept)
    if changed and type(annotation := event.get("annotation")) is dict:
        for member in _PLACES:
            annotation.pop(member, None)


def may_restore(exchange: Exchange, document: Any, text: Text) -> bool:
    """Whether values may go back into this text: not into calls that somebody else carries out."""
    if text.target is not Target.TOOL_ARGS:
        return True
    if not exchange.restores_tool_arguments:
        return False
    return not any(is_of(value, HOSTED_CALLS) or "executableCode" in value for value in containers(document, text.path))


def with_values(session: MaskingSession, value: Any) -> Any:
    """A copy of a JSON value with the values of all its placeholders, also where none may be put back: to judge it, not to
    send it."""
    if type(value) is str:
        return _values_in(session, value) if may_hold_placeholder(value) else value
    if type(value) is list:
        return [with_values(session, member) for member in value]
    if type(value) is dict:
        return {with_values(session, key): with_values(session, member) for key, member in value.items()}
    return value


def _values_in(session: MaskingSession, text: str) -> str:
    pieces: list[str] = []
    position = 0
    for found in session.find(text):
        if found.start >= position:
            pieces += (text[position : found.start], found.masked.value)
            position = found.end
    return "".join((*pieces, text[position:]))


def redact_text(exchange: Exchange, text: str, spans: Iterable[Span]) -> str:
    """A whole text without the values that rules found in it; placeholders of the request stay."""
    settled = without_placeholders(text, spans, exchange.masking)
    for span in settled:
        exchange.note_redaction(span.label, "response", span.rule_id)
    return replace_spans(text, settled, for_good)


def _finished_texts(
    exchange: Exchange, document: Any, texts: Sequence[Text], found: Sequence[Finding]
) -> dict[str, str]:
    by_place: dict[tuple[Target, str], list[Span]] = {}
    for finding in found:
        by_place.setdefault((finding.target, finding.path), []).append(span_of(finding))
    edits: dict[str, str] = {}
    originals: dict[str, str] = {}
    session = exchange.masking
    certain = {(finding.target, finding.path) for finding in found if finding.confidence is Confidence.HIGH}
    for text in texts:
        spans = by_place.get((text.target, text.path), ())
        if originals.setdefault(text.path, text.text) != text.text and spans:
            raise EditImpossible("two texts stand in the same place")
        if not spans and not (session and may_hold_placeholder(text.text)):
            continue
        if is_fixed(document, text):
            # A client can do without a name that is a value: what it gets is sanitised and not refused.
            place = text.target, text.path
            if spans and text.target is not Target.TOOL_NAME and is_name_to_mask(text, is_certain=place in certain):
                edits[text.path] = redact_text(exchange, text.text, spans)
            continue
        result = redact_text(exchange, text.text, spans) if spans else text.text
        if session and may_restore(exchange, document, text):
            result = unmask(session, result, exchange.restored)
        if result != text.text:
            edits[text.path] = result
    return edits
