"""What the provider says on a Realtime connection, inspected, redacted and restored on its way to the client.

A response, and the transcript of what the caller said, is a stream of events like that of any other API and is read with the
same machinery. Whatever else comes, items of the conversation and settings that the provider repeats, is read event by event.
"""

from __future__ import annotations

import time
from typing import Any

from proxies import off_loop, pipeline
from proxies.conversation import RecentFindings
from proxies.exchange import Exchange
from proxies.llm.outlet import too_large_to_hold
from proxies.llm.realtime.audio import put_audio, take_audio
from proxies.llm.realtime.messages import EventMessages
from proxies.llm.realtime.server_stream import RealtimeStream
from proxies.llm.realtime.server_texts import event_texts
from proxies.llm.realtime.turns import Said
from proxies.llm.relay import AnswerStream
from proxies.llm.surfaces import Surface
from proxies.refusal import Refusal
from proxies.strict_json import dump


class Answer:
    """One running response, or the transcript of one item of the caller's."""

    def __init__(self, exchange: Exchange, name: str, *, created_by: str = "", is_asked: bool = False) -> None:
        self.exchange = exchange
        self.name = name
        """The id of the response, or of the item."""
        self.created_by = created_by
        """The client's name for the event that asked for it."""
        self.is_asked = is_asked
        """Whether the client asked for it; otherwise the provider began it by itself."""
        self.refusal: Refusal | None = None
        """Why nothing more of it may go out."""
        self.refused_at = 0.0
        """When that was known, on the monotonic clock."""
        self.is_told = False
        """Whether the client knows."""
        self._interpreter = RealtimeStream()
        exchange.streamed_from = len(exchange.found)
        self._stream = AnswerStream(
            exchange, Surface.OPENAI_REALTIME, self._interpreter, EventMessages(), hide_usage=False, reads_rest=False
        )
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._waits = exchange.protection.streams.buffers

    @property
    def has_ended(self) -> bool:
        """Whether its last event has come."""
        return self._stream.ended

    @property
    def large_characters(self) -> int:
        """The size beyond which its next event is worth a thread."""
        return 0 if self._stream.is_costly else off_loop.LARGE_EVENT_CHARACTERS

    def read(self, event: dict[str, Any]) -> list[bytes]:
        """What goes to the client for one event; raises `Refusal` or `UpstreamError`."""
        taken = take_audio(event)
        messages = self._stream.inspect_body(None, event)
        if taken:
            put_audio(taken)
            messages[-1] = dump(event)
        return self._released(messages)

    def refuse(self, refusal: Refusal) -> None:
        """Nothing more of it may go out."""
        self.refusal, self.refused_at = refusal, time.monotonic()

    def close(self) -> list[bytes]:
        """No more will come: what was held may go out (RED-STR-1), and what waits for all of it may not."""
        return [] if self._waits else self._stream.close()

    def note_usage(self) -> None:
        """Take over what the provider counted."""
        self.exchange.usage = self._interpreter.usage

    def _released(self, messages: list[bytes]) -> list[bytes]:
        if not self._waits:
            return messages
        self._waiting += messages
        self._waiting_bytes += sum(map(len, messages))
        if self._waiting_bytes > self.exchange.proxy.config.limits.max_response_bytes:
            raise too_large_to_hold()
        if not self.has_ended:
            return []
        whole, self._waiting = self._waiting, []
        return whole


def read_aside(exchange: Exchange, event: dict[str, Any], said: Said) -> bytes:
    """What goes to the client for an event that belongs to no running answer; raises `Refusal`."""
    taken = take_audio(event)
    texts = event_texts(event)
    unread = [text for text in texts if text.text not in said]
    found = pipeline.inspect_response(exchange, unread)
    pipeline.finish_answer(exchange, event, texts, found)
    put_audio(taken)
    return dump(event)


def remember(recent: RecentFindings, exchange: Exchange) -> None:
    """What was found in an answer counts for the messages that follow it."""
    recent.add(exchange.added_findings[exchange.streamed_from :], time.monotonic())
