"""A list as a client sees it under control: whole, inspected, and without what nobody approved (T-01, T-03, T-06, M-18)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from proxies import off_loop
from proxies.contract import MCPControl
from proxies.exchange import Exchange
from proxies.mcp.calls import answer_message
from proxies.mcp.control.answers import read_answer
from proxies.mcp.control.declarations import CONTROLLED_LISTS, Declaration, Listing, ListKind
from proxies.mcp.control.gathering import Gathered, gather
from proxies.mcp.control.known_lists import FinishedList
from proxies.mcp.control.passing import passing
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.drain import Answer
from proxies.mcp.inspection import inspect_apart, inspect_now, judge_known, known_findings
from proxies.mcp.messages import Message, parts_of
from proxies.mcp.param_headers import InvalidAnnotation
from proxies.mcp.refusals import invalid_params, printable, upstream_invalid
from proxies.mcp.relay import answer_on_stream
from proxies.mcp.results import MAX_TTL_MS
from proxies.mcp.texts import error_texts, result_texts
from proxies.mcp.upstream import Received, is_stream
from proxies.strict_json import dump, parse
from rules.model import Text

logger = logging.getLogger(__name__)

More = Callable[[Message], Awaitable[Answer]]
"""Sends the request for a further page; raises `Refusal` or `UpstreamError`."""


def controlled_list(exchange: Exchange, message: Message) -> ListKind | None:
    """The list that a request asks for, where what passes of it is controlled; raises `Refusal` for a cursor, which
    nobody was given."""
    server = exchange.proxy.controlled
    list_kind = CONTROLLED_LISTS.get(message.method)
    if list_kind is None or server is None or server.control is None:
        return None
    if (message.params or {}).get("cursor") is not None:
        raise invalid_params("Unknown cursor.", status=400 if exchange.protocol == "mcp.modern" else 200)
    return list_kind


async def answer_list(exchange: Exchange, list_kind: ListKind, request: Message, first: Answer, more: More) -> None:
    """Answer the client with everything of the list that may pass, on one page: as a stream where the server sent one."""
    response = await list_response(exchange, list_kind, request, first, more)
    if is_stream(first):
        await answer_on_stream(exchange, response)
    else:
        await answer_message(exchange, response)


async def list_response(
    exchange: Exchange, list_kind: ListKind, request: Message, first: Answer, more: More
) -> Message:
    """The response with everything of the list that may pass, on one page."""
    server = exchange.proxy.controlled
    assert server is not None  # `controlled_list` asked.
    assert request.id is not None  # A request has an id.
    server.connected()
    moment = server.catalogue.moment
    limit_bytes = exchange.proxy.config.limits.max_response_bytes
    numbers = itertools.count(1)

    async def fetch(cursor: str | None) -> Received:
        asked, answer = request, first
        if cursor is not None:
            asked = Message(
                kind="request",
                id=f"{exchange.id}-{next(numbers)}",
                method=request.method,
                params={**(request.params or {}), "cursor": cursor},
            )
            answer = await more(asked)
        try:
            assert asked.id is not None  # A request has an id.
            return await read_answer(
                answer,
                asked.id,
                limit_bytes=limit_bytes,
                noticed=server.note_change,
                known=server.known_pages[list_kind.kind] if cursor is None else None,
            )
        finally:
            exchange.lap("upstream", waiting=True)
            if cursor is not None:
                answer.close()

    gathered = await gather(list_kind, fetch)
    if gathered.first.error is not None:
        texts = partial(error_texts, gathered.first.error)
        await inspect_apart(exchange, texts, parts_of(gathered.first), size=gathered.size_bytes)
        return Message(kind="response", id=request.id, error=gathered.first.error)
    listing = await _listing(server, list_kind, gathered)
    if server.runtime is not None and server.runtime.upstream is exchange.proxy.upstream:
        # Otherwise the proxy leads to another server by now.
        server.catalogue.keep(listing, moment)
    exchange.lap("parse")
    await server.settle([listing], trigger="list")
    exchange.lap("judgement", waiting=True)
    result = await _finished(exchange, server, list_kind, listing, gathered)
    return Message(kind="response", id=request.id, encoded=result)


async def _listing(server: ControlledServer, list_kind: ListKind, gathered: Gathered) -> Listing:
    """The list with its hashes; where it is one page and that page is known, the one that was made of it before."""
    known = server.known_pages[list_kind.kind]
    page = gathered.first.result or {}
    listing = known.listing_of(page)
    if listing is None:
        listing = await gathered.listing(list_kind, server.catalogue.listing(list_kind.kind))
        if page.get("nextCursor") is None:
            known.keep_listing(page, listing)
    return listing


async def _finished(
    exchange: Exchange, server: ControlledServer, list_kind: ListKind, listing: Listing, gathered: Gathered
) -> msgspec.Raw:
    """The inspected result; the one that was made before where nothing is different."""
    first = gathered.first.result or {}
    others = dump({key: value for key, value in first.items() if key not in (list_kind.member, "nextCursor")})
    judges = (server.control, exchange.protection, exchange.proxy.canaries, exchange.proxy)
    sees_all = not (exchange.proxy.canaries or (server.control and server.control.tool_overrides))
    caller = "" if sees_all else exchange.principal.id
    key = (exchange.protocol, list_kind.kind, listing.digest, others, caller, *map(id, judges))
    known = server.finished_lists.find(key) if not exchange.masking else None
    if known is not None and judge_known(exchange, known.texts, known.findings):
        exchange.reason = exchange.reason or known.note
        return known.result
    judged, found = exchange.judged, len(exchange.added_findings)
    finish = partial(_finish, exchange, server.control, list_kind, listing, others)
    raw, texts, note = await off_loop.sized(gathered.size_bytes, finish)
    findings = known_findings(exchange, judged, found) if not exchange.masking else None
    if findings is not None:
        server.finished_lists.keep(key, FinishedList(raw, texts, note, judges, findings))
    exchange.reason = exchange.reason or note
    return raw


def _finish(
    exchange: Exchange, control: MCPControl | None, list_kind: ListKind, listing: Listing, others: bytes
) -> tuple[msgspec.Raw, list[Text], str]:
    """The result as it is sent, what was inspected of it, and what the record says about it; raises `Refusal`."""
    result, note = _result(exchange, control, list_kind, listing, parse(others))
    texts = result_texts(list_kind.method, result)
    inspect_now(exchange, lambda: texts, {"result": result})
    return msgspec.Raw(dump(result)), texts, note


def _result(
    exchange: Exchange, control: MCPControl | None, list_kind: ListKind, listing: Listing, others: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """What of the list may pass, and what the record says about the rest."""
    is_modern = exchange.protocol == "mcp.modern"
    declared = list(listing.entries.values())
    passed = declared if control is None else passing(control, listing, exchange.principal.id)
    hidden = len(declared) - len(passed)
    if is_modern and list_kind.kind == "tool":
        passed = [one for one in passed if _has_valid_headers(one)]
    result = {**others, list_kind.member: [one.fresh_document() for one in passed]}
    if is_modern:
        if result.get("resultType", "complete") != "complete":
            raise upstream_invalid("The upstream sent a result of an unknown type.")
        ttl = result.get("ttlMs")
        # What waits for a person must be seen soon after it was approved (M-17).
        result["ttlMs"] = 0 if hidden or type(ttl) is not int else max(0, min(ttl, MAX_TTL_MS))
        result["cacheScope"] = "private"
    note = f"{hidden} of {len(declared)} entries are not approved and were left out." if hidden else ""
    return result, note


def _has_valid_headers(declaration: Declaration) -> bool:
    """Whether the header annotations of a tool are valid; one where they are not is not offered (M-05)."""
    try:
        declaration.headers  # noqa: B018 - Computed here, once.
    except InvalidAnnotation as error:
        logger.warning("tool %s is not offered: %s", printable(declaration.name), error)
        return False
    return True
