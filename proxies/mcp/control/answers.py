"""One response of a server to one request, from JSON or from a stream, for requests that nobody relays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from proxies.mcp.control.known_lists import KnownPage
from proxies.mcp.drain import Answer
from proxies.mcp.messages import Message, MessageId
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.upstream import is_stream, media_type, parse_answer, parse_messages, stream_events

MAX_MESSAGES_BEFORE_ANSWER: Final = 200

Noticed = Callable[[str], object]
"""Called with the method of every notification of the server."""


async def read_answer(
    response: Answer, id: MessageId, *, limit_bytes: int, noticed: Noticed, known: KnownPage | None = None
) -> Message:
    """The response with this id; raises `Refusal` or `UpstreamError`. Whatever else the server says on the way ends here.

    `known` is the page that the response most probably holds; its result must not be changed.
    """
    if not is_stream(response):
        if media_type(response) != "application/json":
            raise upstream_invalid("The upstream's answer is neither JSON nor an event stream.")
        message = _read(await response.read(limit_bytes), id, known)
        if not _answers(message, id):
            raise upstream_invalid("The upstream did not answer the request.")
        return message
    seen = size_bytes = 0
    async with aclosing(stream_events(response)) as received:
        async for event in received:
            if not event.data:
                continue
            seen += 1
            size_bytes += len(event.data)
            if seen > MAX_MESSAGES_BEFORE_ANSWER or size_bytes > limit_bytes:
                break
            message = _read(event.data.encode("utf-8", "surrogatepass"), id, known)
            if _answers(message, id):
                return message
            if message.kind == "notification":
                noticed(message.method)
    raise upstream_invalid("The upstream ended its answer before the response.")


def _read(data: bytes, id: MessageId, known: KnownPage | None) -> Message:
    if known is None:
        (message,) = parse_messages(parse_answer(data), allow_batch=False)
    elif (recalled := known.recall(data, id)) is not None:
        return recalled
    else:
        (message,) = parse_messages(parse_answer(data), allow_batch=False)
        known.keep(data, message)
    return message


def _answers(message: Message, id: MessageId) -> bool:
    if message.kind != "response":
        return False
    # An error may have lost the id of its request.
    return (type(message.id), message.id) == (type(id), id) or (message.id is None and message.error is not None)
