"""A server that is a process: one JSON message a line on its standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, Final

import msgspec

from proxies.child_environment import server_environment
from proxies.scan.link import MAX_MESSAGES, MAX_REPLY_BYTES, MAX_TEXT_CHARS, Fields, Reply, messages_in
from proxies.strict_json import JSONRefused, dump

ANSWER_SECONDS: Final = 15.0
UNANSWERED_SECONDS: Final = 2.0
"""How long a message that need not be answered is listened for."""
END_SECONDS: Final = 2.0


class StdioLink:
    """A running process; nobody else speaks to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def __repr__(self) -> str:
        return f"<StdioLink {self._process.pid}>"

    @classmethod
    async def start(cls, argv: tuple[str, ...], environment: dict[str, str], directory: str = "") -> StdioLink:
        """Start the server; raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=server_environment(os.environ, environment),
            cwd=directory or None,
            limit=MAX_REPLY_BYTES,
            start_new_session=True,
        )
        return cls(process)

    async def post(self, body: bytes, headers: Fields, wanted: int | str | None) -> Reply:
        """See `Link`. Header fields mean nothing here."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(body.replace(b"\n", b" ") + b"\n")
            await stdin.drain()
        except (ConnectionError, BrokenPipeError):
            return Reply(text="The process has ended.", lost=True, problem="ended")
        if wanted is None and b'"method"' in body and b'"id"' not in body:
            return Reply(status=202)
        messages: list[dict[str, Any]] = []
        size = 0
        seconds = ANSWER_SECONDS if wanted is not None else UNANSWERED_SECONDS
        try:
            async with asyncio.timeout(seconds):
                while size < MAX_REPLY_BYTES and len(messages) < MAX_MESSAGES:
                    line = await stdout.readline()
                    if not line:
                        return Reply(
                            messages=tuple(messages), text="The process has ended.", lost=True, problem="ended"
                        )
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
        except ValueError:
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
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # Its end shows when the next line is read.
            self._process.stdin.write(dump(answer) + b"\n")
            await self._process.stdin.drain()

    async def aclose(self) -> None:
        """Close its input, and end the process with its children when that is not enough."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
