"""Relays an event stream: parse, read, inspect, then release (LLM-HTTP-2, LLM-HTTP-3).

Nothing is released before it was inspected. A block ends the stream in the API's own error form. An upstream that stalls,
truncates or speaks nonsense ends it with an error event and a cut connection, never with the API's regular end.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import Any, Final

from proxies import off_loop
from proxies.answer_texts import AnswerTexts
from proxies.exchange import Exchange
from proxies.keepalive import KeepAlive
from proxies.llm.bedrock_frames import EXCEPTION
from proxies.llm.conversations import keep_conversation, keeps_conversation
from proxies.llm.errors import stream_event
from proxies.llm.hidden_tokens import forget_tokens, may_hide
from proxies.llm.interpreters import Framing, Interpreter
from proxies.llm.outlet import Outlet
from proxies.llm.response_texts import echoed_texts
from proxies.llm.running_texts import Reading
from proxies.llm.streams import ResponsesStream
from proxies.llm.surfaces import Surface
from proxies.llm.tool_calls import CallsNotReadable, OpenCalls
from proxies.llm.unread_answers import UnreadAnswer
from proxies.pipeline import finish_answer, has_rules, inspect_response, judge_tool_calls, needs_tool_calls
from proxies.refusal import Refusal
from proxies.steps.decide import inspection_failed
from proxies.steps.restore import drop_stale, drop_stale_apart
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import UpstreamError, UpstreamProtocolError
from proxies.transport.pool import UpstreamResponse
from proxies.transport.sse import SSEEvent
from rules.model import Text

logger = logging.getLogger(__name__)

MANY_TEXTS: Final = 8
"""An event that ends more running texts than this at once, as the last one does, is worth a thread."""
_EVENT_NAME: Final = re.compile("[A-Za-z_.:-]{1,100}")
_WHOLE_RESPONSE: Final = '"response"'
"""A member of those events of the Responses API that say it all."""


async def relay_stream(
    exchange: Exchange,
    surface: Surface,
    interpreter: Interpreter,
    framing: Framing,
    upstream: UpstreamResponse,
    headers: list[tuple[str, str]],
    *,
    hide_usage: bool,
) -> None:
    """Relay `upstream` to the client as an inspected event stream. `hide_usage` drops the usage the gateway asked for."""
    exchange.streamed_from = len(exchange.found)
    exchange.start_answer(upstream.status, [*framing.headers, *headers])
    stream = AnswerStream(exchange, surface, interpreter, framing, hide_usage=hide_usage)
    keepalive = KeepAlive(exchange)
    if not framing.has_comments:
        keepalive.stop()
    try:
        await _pump(exchange, stream, upstream, keepalive)
    except Refusal as refusal:
        await _end_with_error(exchange, stream, refusal, clean=refusal.outcome == "blocked")
    except UpstreamError as error:
        await _write_held(exchange, stream)
        failure = Refusal(error.status, error.code, error.message, outcome="upstream_error")
        await _end_with_error(exchange, stream, failure, clean=False)
    else:
        exchange.truncated = not stream.ended
        exchange.usage = interpreter.usage
        await stream.outlet.end()
        if end := framing.end():
            await exchange.write(end)
        exchange.finish_answer()
    finally:
        keepalive.stop()
        exchange.usage = interpreter.usage


async def _pump(exchange: Exchange, stream: AnswerStream, upstream: UpstreamResponse, keepalive: KeepAlive) -> None:
    framing = stream.framing
    if not exchange.protection.is_prepared:
        await off_loop.away(exchange.protection.prepare)
    async for chunk in upstream:
        exchange.lap("upstream", waiting=True)
        await _release(exchange, stream, framing.feed(chunk), keepalive)
    exchange.lap("upstream", waiting=True)
    await _release(exchange, stream, framing.close(), keepalive)
    if held := await _close(stream):
        await stream.outlet.write(held)


async def _close(stream: AnswerStream) -> list[bytes]:
    """What only the end of the stream decides, for one running text after the other."""
    return await off_loop.away(stream.close) if stream.is_costly else stream.close()


async def _release(exchange: Exchange, stream: AnswerStream, events: list[SSEEvent], keepalive: KeepAlive) -> None:
    """Inspect the events of one read and send what passed: the good ones before a block still reach the client."""
    released: list[bytes] = []
    characters = 0
    try:
        for event in events:
            characters += len(event.data)
            if len(event.data) > off_loop.LARGE_EVENT_CHARACTERS or stream.is_costly or stream.keeps(event):
                released += await off_loop.away(partial(stream.inspect, event))
            else:
                released += stream.inspect(event)
            if characters > off_loop.SLICE_CHARACTERS:
                characters = 0
                await asyncio.sleep(0)
    finally:
        exchange.lap("inspect_response")
        if released:
            if not stream.outlet.waits:
                keepalive.touch()
            await stream.outlet.write(released)
            exchange.lap("downstream", waiting=True)


class AnswerStream:
    """The inspection of one stream; no I/O."""

    def __init__(
        self,
        exchange: Exchange,
        surface: Surface,
        interpreter: Interpreter,
        framing: Framing,
        *,
        hide_usage: bool,
        reads_rest: bool = True,
    ) -> None:
        """With `reads_rest` also what no shape of the API names is read."""
        self.framing = framing
        self.outlet = Outlet(exchange)
        self._exchange = exchange
        self.surface = surface
        self.interpreter = interpreter
        self._hide_usage = hide_usage
        self._may_hide = may_hide(exchange, surface)
        self._texts = AnswerTexts(exchange, repeats=interpreter.repeats)
        self._calls = OpenCalls() if needs_tool_calls(exchange) else None
        self._unread = UnreadAnswer() if reads_rest and has_rules(exchange) else None
        self._inserted = 0
        self.ended = False

    @property
    def sequence(self) -> int:
        """The number of the next event, where the API counts them."""
        return self.interpreter.sequence + self._inserted

    @property
    def is_costly(self) -> bool:
        """Whether even a small event is worth a thread."""
        return self._texts.open_count > MANY_TEXTS or self._texts.held_characters > off_loop.HELD_CHARACTERS

    def keeps(self, event: SSEEvent) -> bool:
        """Whether an event may be the one with which the conversation is kept, in a file too."""
        return _WHOLE_RESPONSE in event.data and keeps_conversation(self._exchange, self.surface)

    def inspect(self, event: SSEEvent) -> list[bytes]:
        """What to release for one event, nothing to swallow it; raises `Refusal` or `UpstreamError`."""
        if event.data == "[DONE]" and self.framing.has_done:
            held = self.close()
            self.ended = True
            return [*held, self.framing.event(SSEEvent(event=None, data=event.data))]
        if not event.data:
            return []
        return self.inspect_body(event.event, self._parse(event.data))

    def inspect_body(self, event: str | None, body: dict[str, Any]) -> list[bytes]:
        """What to release for one parsed event, which has a name where the API gives it one; raises `Refusal`."""
        reading = self.interpreter.read(event, body)
        if self._unread is not None:
            self._pass_rest(self._unread, body, reading)
        if self._calls is not None:
            self._judge_calls(self._calls, body)
        if self._may_hide:
            forget_tokens(body)
        number = body.get("sequence_number")
        held = self._pass(reading, body, gives_up=_gives_up(event, body))
        if reading.is_end:
            held += [self._numbered(more, number) for more in self._close_texts()]
            self.ended = True
            if self.surface is Surface.OPENAI_RESPONSES:
                keep_conversation(self._exchange, body.get("response"))
        if self._hide_usage:
            if reading.is_usage_only:
                return held
            if "usage" in body and body["usage"] is None:
                del body["usage"]
        if self._inserted and type(number) is int:
            body["sequence_number"] = number + self._inserted
        # The name of the event goes on only where the API has one; id and retry have no meaning in these APIs.
        name = event if event is not None and _EVENT_NAME.fullmatch(event) is not None else None
        return [*held, self.framing.event(SSEEvent(event=name, data=dump(body).decode()))]

    def close(self) -> list[bytes]:
        """The upstream's stream is over: weigh what only the end decides; what was held goes out (RED-STR-1)."""
        return [self._numbered(event, self.interpreter.sequence) for event in self._close_texts()]

    def _close_texts(self) -> list[SSEEvent]:
        held = []
        for key in self._texts.open_keys():
            if rest := self._texts.close_text(key):
                held.append(self.interpreter.delta(key, rest))
        self._texts.close()
        if self._calls is not None:
            self._calls.close()
            self._judge(self._calls)
        return held

    def _numbered(self, event: SSEEvent, number: Any) -> bytes:
        """An event of ours in the sequence of the upstream's: it takes the number of the next one (RED-STR-4)."""
        if self.interpreter.repeats and type(number) is int:
            body = {**parse(event.data.encode()), "sequence_number": number + self._inserted}
            event = SSEEvent(event=event.event, data=dump(body).decode())
            self._inserted += 1
        return self.framing.event(event)

    def _judge_calls(self, calls: OpenCalls, body: dict[str, Any]) -> None:
        """Judge the tool calls that this event begins or completes: neither the name nor the end of a denied one passes."""
        try:
            calls.read(body)
        except CallsNotReadable as error:
            raise inspection_failed(self._exchange, error) from error
        self._judge(calls)

    def _judge(self, calls: OpenCalls) -> None:
        named, complete = calls.take()
        judge_tool_calls(self._exchange, named, named_only=True)
        judge_tool_calls(self._exchange, complete)

    def _parse(self, data: str) -> dict[str, Any]:
        try:
            body = parse(data.encode())
        except (JSONRefused, UnicodeEncodeError) as error:
            raise UpstreamProtocolError(f"The upstream sent an event that is not valid: {error}") from None
        if type(body) is not dict:
            raise UpstreamProtocolError("The upstream sent an event that is not a JSON object.")
        return body

    def _pass(self, reading: Reading, body: dict[str, Any], *, gives_up: bool) -> list[bytes]:
        """Inspect what the event says and change it to what may go out; events of what was held come before it."""
        texts = self._texts
        for piece in reading.pieces:
            texts.feed(piece)
        held: list[bytes] = []
        ended = reading.ended
        if gives_up:
            # A client reads nothing behind an error, so what was held goes out before it (RED-STR-1).
            ended = [*ended, *(key for key in texts.open_keys() if key not in ended)]
        for key in ended:
            rest = texts.close_text(key)
            here = next((piece for piece in reversed(reading.pieces) if piece.key == key), None)
            if rest and here is not None:
                here.holder[here.member] += rest
                drop_stale((here.holder, here.around))
            elif rest:
                held.append(self._numbered(self.interpreter.delta(key, rest), body.get("sequence_number")))
        if again := reading.reread if texts.is_active else [*reading.decoded, *reading.reread]:
            inspect_response(self._exchange, again)
        self._pass_whole(reading.texts, body, [] if reading.pieces else texts.repeat(body))
        if texts.is_active:
            beside = [piece.around for piece in reading.pieces]
            drop_stale_apart(self._exchange, body, beside, is_holding=texts.is_holding)
        return held

    def _pass_rest(self, unread: UnreadAnswer, body: dict[str, Any], reading: Reading) -> None:
        """What no shape names, before what one names is changed."""
        read = reading.texts
        if self.interpreter.repeats:
            read = read + self._repeated(body)
        rest = unread.texts(body, read, [piece.text for piece in reading.pieces])
        if rest and type(self.interpreter) is ResponsesStream:
            rest = self.interpreter.unsaid(rest)
        if rest:
            found = inspect_response(self._exchange, rest)
            unread.note(rest, found)
            finish_answer(self._exchange, body, rest, found)

    def _repeated(self, body: dict[str, Any]) -> list[Text]:
        """What an event repeats of the request."""
        return echoed_texts(self.surface, body.get("response"), self._exchange.may_repeat, "/response")

    def _pass_whole(self, whole: list[Text], body: dict[str, Any], repeated: list[str]) -> None:
        """Texts that did not come in pieces; those in places that only repeat what went out are not read again."""
        unread = [
            text
            for text in whole
            if not any(text.path == place or text.path.startswith(place + "/") for place in repeated)
        ]
        found = inspect_response(self._exchange, unread) if unread else []
        if self.interpreter.repeats:
            unread += self._repeated(body)
        finish_answer(self._exchange, body, unread, found)


def _gives_up(name: str | None, body: dict[str, Any]) -> bool:
    """Whether an event is the upstream's word that it cannot go on."""
    return body.get("error") is not None or body.get("type") == "error" or (name or "").endswith(EXCEPTION)


async def _write_held(exchange: Exchange, stream: AnswerStream) -> None:
    """What was held when the upstream broke off is read as the end of the text, and goes out before the error."""
    try:
        if held := await _close(stream):
            await stream.outlet.write(held)
    except Refusal as refusal:
        logger.warning("what was held of %s does not go out: %s", exchange.id, refusal.code)


async def _end_with_error(exchange: Exchange, stream: AnswerStream, refusal: Refusal, *, clean: bool) -> None:
    """Say in the API's words why the stream stops; cut the connection unless the gateway itself decided to stop."""
    exchange.outcome = refusal.outcome
    exchange.error_code = refusal.code
    exchange.reason = refusal.message
    exchange.usage = stream.interpreter.usage
    interpreter = stream.interpreter
    if stream.outlet.waits:
        stream.outlet.drop()
        stream.framing.restart()
    event = stream_event(stream.surface, refusal, exchange.id, interpreter.response_id, stream.sequence)
    if clean:
        # The record goes first: a client that sees the block must find it in the console.
        exchange.record()
    await exchange.write(stream.framing.event(event))
    if clean:
        if end := stream.framing.end():
            await exchange.write(end)
        exchange.finish_answer()
    else:
        exchange.abort_answer()
