"""What a legacy client is asked on behalf of a modern server, and its answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxies.mcp.messages import UPSTREAM_FAILED, Message, error_response

MAX_OPEN: Final = 256
PATIENCE_SECONDS: Final = 600.0
"""How long a client may take: there is a person behind it."""
_GONE: Final = error_response(None, UPSTREAM_FAILED, "The client is gone.")
_TOO_MANY: Final = error_response(None, UPSTREAM_FAILED, "Too many questions are open.")
_NO_ANSWER: Final = error_response(None, UPSTREAM_FAILED, "The client did not answer in time.")


class Questions:
    """The open questions of one session. Their ids are ours: a server of the modern era gives them none."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[Message]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, method: str, params: dict[str, Any] | None) -> tuple[asyncio.Future[Message], Message]:
        """A new question: its answer to come, and the request that asks it."""
        loop = asyncio.get_running_loop()
        self._last += 1
        id = f"bridge-{self._last}"
        answer: asyncio.Future[Message] = loop.create_future()
        request = Message(kind="request", id=id, method=method, params=params)
        if len(self._open) >= MAX_OPEN:
            answer.set_result(_TOO_MANY)
            return answer, request
        self._open[id] = answer
        timer = loop.call_later(PATIENCE_SECONDS, _settle, answer, _NO_ANSWER)

        def closed(_: asyncio.Future[Message]) -> None:
            timer.cancel()
            self._open.pop(id, None)

        answer.add_done_callback(closed)
        return answer, request

    def answered(self, response: Message) -> None:
        """The client has said something; what nobody asked is dropped."""
        if type(response.id) is str and (answer := self._open.get(response.id)) is not None:
            _settle(answer, response)

    def close(self) -> None:
        """No answer will come."""
        for answer in tuple(self._open.values()):
            _settle(answer, _GONE)


def _settle(answer: asyncio.Future[Message], message: Message) -> None:
    if not answer.done():
        answer.set_result(message)
