"""The events of a stream of the upstream that may hold a message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from proxies.exchange import Exchange
from proxies.mcp.drain import Answer
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.upstream import MAX_EVENT_BYTES
from proxies.transport.sse import SSEEvent, SSEParser, SSETooLarge


async def events(exchange: Exchange, response: Answer) -> AsyncGenerator[SSEEvent, None]:
    """The events of a stream that may hold a message; comments and other event types end here (I-12)."""
    async with aclosing(stream_events(response, lambda: exchange.lap("upstream", waiting=True))) as received:
        async for event in received:
            yield event
    exchange.lap("upstream", waiting=True)


async def stream_events(response: Answer, on_chunk: Callable[[], None] | None = None) -> AsyncGenerator[SSEEvent, None]:
    """`events` without a call of a client."""
    parser = SSEParser(MAX_EVENT_BYTES)
    try:
        async for chunk in response:
            if on_chunk is not None:
                on_chunk()
            for event in parser.feed(chunk):
                if event.event in (None, "", "message"):
                    yield event
        for event in parser.close():
            if event.event in (None, "", "message"):
                yield event
    except SSETooLarge:
        raise upstream_invalid("The upstream sent an event that is larger than the gateway can inspect.") from None
