"""A server that is a process: one JSON message a line on its standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, Final

import msgspec

from proxies.child_environment import server_environment
from proxies.contract.mcp import StdioServer
from proxies.mcp.upstreams.server_log import ServerLog
from proxies.mcp.upstreams.stdio import LAST_WORDS_SECONDS, start_server
from proxies.scan.link import MAX_MESSAGES, MAX_REPLY_BYTES, MAX_TEXT_CHARS, Fields, Reply, messages_in
from proxies.strict_json import JSONRefused, dump
from proxies.transport.lines import LineTooLong
from proxies.transport.process import Child, NotStarted

ANSWER_SECONDS: Final = 15.0
UNANSWERED_SECONDS: Final = 2.0
"""How long a message that need not be answered is listened for."""
MAX_ERROR_LINE_BYTES: Final = 4096


class StdioLink:
    """A running process; nobody else speaks to it."""

    def __init__(self, child: Child, log: ServerLog) -> None:
        self._child = child
        self._log = log
        self._errors = asyncio.get_running_loop().create_task(child.read_error_lines(self._note, MAX_ERROR_LINE_BYTES))

    def __repr__(self) -> str:
        return f"<StdioLink {self._child!r}>"

    @classmethod
    async def start(cls, server: StdioServer) -> StdioLink:
        """Start the server as a proxy would; raises OSError."""
        try:
            environment = server_environment(os.environ, server.environment, os.getpid())
            child = await start_server(server, environment, max_line_bytes=MAX_REPLY_BYTES)
        except NotStarted as error:
            raise OSError(0, str(error)) from error
        return cls(child, ServerLog(server.environment.values()))

    @property
    def last_words(self) -> str:
        """The last line of its standard error, without secrets."""
        return self._log.last

    async def post(self, body: bytes, headers: Fields, wanted: int | str | None) -> Reply:
        """See `Link`. Header fields mean nothing here."""
        try:
            await self._child.write(body.replace(b"\n", b" ") + b"\n")
        except ConnectionError:
            await self._hear_out()
            return _ENDED
        if wanted is None and b'"method"' in body and b'"id"' not in body:
            return Reply(status=202)
        messages: list[dict[str, Any]] = []
        size = 0
        seconds = ANSWER_SECONDS if wanted is not None else UNANSWERED_SECONDS
        try:
            async with asyncio.timeout(seconds):
                while size < MAX_REPLY_BYTES and len(messages) < MAX_MESSAGES:
                    line = await self._child.read_line()
                    if line is None:
                        await self._hear_out()
                        return msgspec.structs.replace(_ENDED, messages=tuple(messages))
                    size += len(line)
                    with contextlib.suppress(JSONRefused):  # A line that is no JSON is a log line in the wrong place.
                        for message in messages_in(line):
                            messages.append(message)
                            await self._answer(message)
                    answers = [one for one in messages if "method" not in one]
                    if any(one.get("id") == wanted for one in answers) or (wanted is None and answers):
                        break
        except TimeoutError:
            return Reply(messages=tuple(messages), text="There was no answer in time.", size=size, problem="timeout")
        except LineTooLong:
            return Reply(messages=tuple(messages), text="A line is too long.", size=size, problem="too_large")
        text = msgspec.json.encode(messages[-1]).decode()[:MAX_TEXT_CHARS] if messages else ""
        return Reply(status=200, messages=tuple(messages), text=text, size=size)

    async def _answer(self, message: dict[str, Any]) -> None:
        """What the server asks of its client gets an answer, so that it goes on."""
        if "method" not in message or "id" not in message:
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "ping":
            answer["result"] = {}
        else:
            answer["error"] = {"code": -32601, "message": "The scanner offers nothing."}
        with contextlib.suppress(ConnectionError):  # Its end shows when the next line is read.
            await self._child.write(dump(answer) + b"\n")

    async def aclose(self) -> None:
        """End the process with its children."""
        await self._child.stop()
        self._errors.cancel()

    async def _hear_out(self) -> None:
        """It has ended: wait a moment for what is still in the pipe of its standard error, where it says why."""
        await asyncio.wait({self._errors}, timeout=LAST_WORDS_SECONDS)

    def _note(self, line: bytes) -> None:
        self._log.take(line, asyncio.get_running_loop().time())


_ENDED: Final = Reply(text="The process has ended.", lost=True, problem="ended")
