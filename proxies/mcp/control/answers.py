"""One response of a server to one request, from JSON or from a stream, for requests that nobody relays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.mcp.control.known_lists import KnownPage
from proxies.mcp.drain import Answer
from proxies.mcp.messages import Message, MessageId
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.upstream import Received, is_stream, media_type, message_in, parse_messages
from proxies.mcp.upstream_events import stream_events

MAX_MESSAGES_BEFORE_ANSWER: Final = 200
RECALLED_ON_LOOP_BYTES: Final = 512 * 1024
"""A page up to this size is compared with the known one sooner than a thread is told of it; a larger one in a thread."""

Noticed = Callable[[str], object]
"""Called with the method of every notification of the server."""


async def read_answer(
    response: Answer, id: MessageId, *, limit_bytes: int, noticed: Noticed, known: KnownPage | None = None
) -> Received:
    """The response with this id; raises `Refusal` or `UpstreamError`. Whatever else the server says on the way ends here.

    `known` is the page that the response most probably holds; its result must not be changed.
    """
    if not is_stream(response):
        if media_type(response) != "application/json":
            raise upstream_invalid("The upstream's answer is neither JSON nor an event stream.")
        received = await _read(await response.read(limit_bytes), id, known)
        if not _answers(received.message, id):
            raise upstream_invalid("The upstream did not answer the request.")
        return received
    seen = size_bytes = 0
    async with aclosing(stream_events(response)) as stream:
        async for event in stream:
            if not event.data:
                continue
            seen += 1
            size_bytes += len(event.data)
            if seen > MAX_MESSAGES_BEFORE_ANSWER or size_bytes > limit_bytes:
                break
            received = await _read(event.data.encode("utf-8", "surrogatepass"), id, known)
            if _answers(received.message, id):
                return received
            if received.message.kind == "notification":
                noticed(received.message.method)
    raise upstream_invalid("The upstream ended its answer before the response.")


async def _read(data: bytes, id: MessageId, known: KnownPage | None) -> Received:
    if known is None:
        return await message_in(data)
    if len(data) <= RECALLED_ON_LOOP_BYTES and (recalled := known.recall(data, id)) is not None:
        return Received(recalled, len(data))
    return Received(await off_loop.sized(len(data), partial(_recalled_or_read, data, id, known)), len(data))


def _recalled_or_read(data: bytes, id: MessageId, known: KnownPage) -> Message:
    if (recalled := known.recall(data, id)) is not None:
        return recalled
    (message,) = parse_messages(data)
    known.keep(data, message)
    return message


def _answers(message: Message, id: MessageId) -> bool:
    if message.kind != "response":
        return False
    # An error may have lost the id of its request.
    return (type(message.id), message.id) == (type(id), id) or (message.id is None and message.error is not None)
