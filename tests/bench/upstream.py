"""An LLM API that costs next to nothing: prebuilt answers over raw asyncio. Prints its port, serves until stdin closes.

A request whose body has `"stream":true` gets an event stream: `x-bench-chunks` events, one every `x-bench-interval-ms`,
each carrying the monotonic time at which it was sent in `created`. With 0 chunks the stream stays open and silent.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import cast

from tests.bench.distinct import MARK, distinct
from tests.bench.load import use_fast_loop

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CHUNKS = re.compile(rb"x-bench-chunks: *(\d+)", re.IGNORECASE)
INTERVAL = re.compile(rb"x-bench-interval-ms: *(\d+)", re.IGNORECASE)
ANSWER_TEXT = f"{MARK}: " + "The quick brown fox jumps over the lazy dog while the gateway reads along. " * 6


def answer() -> bytes:
    """One complete chat completion of about 700 bytes."""
    message = {"role": "assistant", "content": ANSWER_TEXT}
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 500, "completion_tokens": 100, "total_tokens": 600},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


ANSWER = answer()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST_EVENT = b'data: {"id":"c","object":"chat.completion.chunk","created":0,"model":"bench","choices":[]}\n\n'


class Connection(asyncio.Protocol):
    """One connection, requests one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[: end + 2]
            length = LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                return
            body = self.buffer[end + 4 : total]
            self.buffer = self.buffer[total:]
            if b'"stream":true' in body:
                self.task = asyncio.get_running_loop().create_task(self.stream(body))
            else:
                self.transport.write(distinct(ANSWER))

    async def stream(self, body: bytes) -> None:
        """Send the events at their pace."""
        settings = json.loads(json.loads(body)["user"])
        self.send(STREAM_HEAD, FIRST_EVENT)
        if not settings["chunks"]:
            return
        begin = time.monotonic()
        for number in range(settings["chunks"]):
            await asyncio.sleep(begin + number * settings["interval_ms"] / 1000 - time.monotonic())
            choice = {"index": 0, "delta": {"content": f"word number {number} "}, "finish_reason": None}
            event = {"id": "c", "object": "chat.completion.chunk", "created": time.monotonic_ns(), "choices": [choice]}
            self.send(b"", b"data: " + json.dumps(event).encode() + b"\n\n")
        self.send(b"", b"data: [DONE]\n\n")
        self.transport.write(b"0\r\n\r\n")

    def send(self, head: bytes, event: bytes) -> None:
        """One event as one chunk."""
        self.transport.write(b"%b%x\r\n%b\r\n" % (head, len(event), event))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    use_fast_loop()
    asyncio.run(main())
